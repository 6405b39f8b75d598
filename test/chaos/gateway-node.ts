// SPDX-License-Identifier: Apache-2.0
import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { isObject } from '#base/json.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import type { Random } from '#base/random.ts';
import type { AppSource } from '#gateway/apps/app-source.ts';
import type { TenantSource } from '#gateway/auth/tenants.ts';
import { createGateway } from '#gateway/gateway.ts';
import { createLocalStoreHandler } from '#gateway/store/open.ts';
import type { LocalStore } from '#gateway/store/open.ts';
import { QueueError } from '#gateway/queue/errors.ts';
import type { Backend, QueueHandle } from './backend.ts';
import type { ProcessClock, ScheduleClock } from './clock.ts';
import { startFaultProxy } from './fault-proxy.ts';
import type { Fleet } from './fleet.ts';
import type { History } from './history.ts';
import { never } from './never.ts';
import { BATCH_PRIORITY } from './work.ts';
import { tapQueue } from './tap.ts';
import type { CallFault, Tap } from './tap.ts';

/** Virtual: what passes before a lease of a dead unit is given to another one. */
export const LEASE_MS = 30_000;

const OPEN_TRIES = 20;
/** For calls to come back, of 1 ms each. */
const LOOKS = 2_000;
/** Real time. */
const OPEN_PAUSE_MS = 50;

export interface GatewayNodeOptions {
  readonly backend: Backend;
  readonly time: ScheduleClock;
  readonly clock: ProcessClock;
  readonly store: LocalStore;
  readonly apps: AppSource;
  readonly fleet: Fleet;
  readonly tenants: TenantSource;
  readonly history: History;
  readonly random: Random;
  /** It was killed: whoever talks to this port meets a reset. */
  readonly onKill: (internalPort: number) => void;
}

/** A production gateway that can die at any moment, in the process of the test. */
export interface GatewayNode {
  readonly tap: Tap;
  /** Where clients reach it: a network that may fail. */
  readonly clientPort: number;
  /** Where the network of a unit leads. */
  readonly internalPort: number;
  isDead(): boolean;
  setRate(rate: number): void;
  /** The next call of the queue's `method` meets this. */
  arm(method: string, fault: CallFault): void;
  /** At once, as `kill -9`: no answer, write or wake-up of it gets anywhere any more. */
  kill(): void;
  /** In order, as SIGTERM. */
  stop(): Promise<void>;
}

export async function startGatewayNode(options: GatewayNodeOptions): Promise<GatewayNode> {
  const { backend, time, clock, store, apps, fleet, tenants, history, random } = options;
  const handle = await opened(backend);
  let dead = false;
  let armed: { readonly method: string; readonly fault: CallFault } | undefined;
  let clientPort: number | undefined;
  const isDead = (): boolean => dead;
  const tap = tapQueue({
    queue: handle.queue,
    history,
    now: time.now,
    isDead,
    isBatch: ({ priority }) => priority === BATCH_PRIORITY,
    kill: () => kill(),
    fault: (method) => {
      if (armed?.method !== method) return undefined;
      const { fault } = armed;
      armed = undefined;
      return fault;
    },
  });
  const network = await startFaultProxy(() => clientPort, random);
  const own = severable(store, isDead);
  const gateway = await createGateway(
    {
      queue: tap.queue,
      store: own,
      apps,
      tenants,
      clock,
      random,
      logger: silentLogger,
      registry: createRegistry('gateway', false),
      keys: fleet.keys,
      operatorJwks: () => fleet.jwks,
      objects: createLocalStoreHandler(own, { logger: silentLogger, mount: '/objects' }),
    },
    {
      clientHost: '127.0.0.1',
      clientPort: 0,
      internalHost: '127.0.0.1',
      internalPort: 0,
      leaseSeconds: LEASE_MS / 1000,
      version: '0.0.0-chaos',
    },
  );
  const ports = await gateway.start();
  clientPort = ports.clientPort;
  const kill = (): void => {
    if (dead) return;
    // First the way to the queue, at the state of this very moment.
    handle.sever();
    dead = true;
    network.kill();
    options.onKill(ports.internalPort);
    // Gives the listeners and timers back; it waits for ever for what hangs, and nobody waits for it.
    void gateway.stop().catch(() => undefined);
    clock.freeze();
  };
  return {
    tap,
    clientPort: network.port,
    internalPort: ports.internalPort,
    isDead,
    setRate: (rate) => {
      network.setRate(rate);
      handle.setRate(rate);
    },
    arm: (method, fault) => {
      armed = { method, fault };
    },
    kill,
    stop: async () => {
      armed = undefined;
      await gateway.stop();
      network.kill();
      // A lease call whose unit hung up is no connection any more, and still under way.
      for (let look = 0; tap.underWay() > 0 && look < LOOKS; look++) await delay(1);
    },
  };
}

/** On a busy machine a connection may fail although nothing broke it; production tries again, too (when-reachable.ts). */
async function opened(backend: Backend): Promise<QueueHandle> {
  for (let tried = 0; ; tried++) {
    try {
      return await backend.open();
    } catch (err) {
      if (!(err instanceof QueueError && err.code === 'unavailable') || tried >= OPEN_TRIES) throw err;
      await delay(OPEN_PAUSE_MS);
    }
  }
}

/** The store as one gateway reaches it: what a dead one still had in mind never happens. */
function severable(store: LocalStore, isDead: () => boolean): LocalStore {
  return new Proxy(store, {
    get: (target, name) => {
      const found: unknown = Reflect.get(target, name);
      if (typeof found !== 'function') return found;
      const method = found as (...args: readonly unknown[]) => unknown;
      if (name === 'verifyUrl') return method.bind(target);
      return async (...args: unknown[]) => {
        if (isDead()) return await never();
        const answer = await method.apply(target, args);
        if (!isDead()) return answer;
        // Its descriptor would go with the process.
        if (isObject(answer) && answer['body'] instanceof Readable) answer['body'].destroy();
        return await never();
      };
    },
  });
}
