// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { seededRandom } from '#base/random.ts';
import type { Random } from '#base/random.ts';
import { openLocalStore } from '#gateway/store/open.ts';
import type { LocalStore } from '#gateway/store/open.ts';
import { testApp, testApps } from '#test/integration/gateway.harness.ts';
import type { TestApps } from '#test/integration/gateway.harness.ts';
import { embeddedBackend } from './backend-embedded.ts';
import { redisBackend } from './backend-redis.ts';
import type { Backend, Driver } from './backend.ts';
import { createChaosClient } from './client.ts';
import type { ChaosClient } from './client.ts';
import { createScheduleClock } from './clock.ts';
import type { ScheduleClock } from './clock.ts';
import { startFaultProxy } from './fault-proxy.ts';
import type { FaultProxy } from './fault-proxy.ts';
import { APP_UID } from './fleet.ts';
import type { Fleet } from './fleet.ts';
import { startGatewayNode } from './gateway-node.ts';
import type { GatewayNode } from './gateway-node.ts';
import { createHistory } from './history.ts';
import { changingTenants } from './shares.ts';
import type { Caps, ChangingTenants } from './shares.ts';
import type { History } from './history.ts';
import { startUnitNode } from './unit-node.ts';
import type { UnitNode } from './unit-node.ts';

export const RETRY = { maxAttempts: 2, maxLosses: 2 } as const;
/** Longer than any schedule lasts. */
export const RETENTION_SECONDS = 7_200;
/** Clocks of gateways are wrong by up to this, those of workers by hours. */
const GATEWAY_SKEW_MS = 60_000;
const WORKER_SKEW_MS = 12 * 3_600_000;
/** tmpfs where there is one: the files of a schedule live for some ten milliseconds. */
const FAST_DIR = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

/** What all schedules of a process share. */
export interface Ground {
  readonly fleet: Fleet;
  readonly redis?: { readonly port: number; readonly client: Redis };
}

/** Everything that one schedule has: gateways, units, clients, the queue and the store between them, and time. */
export class World {
  readonly time: ScheduleClock = createScheduleClock();
  readonly history: History = createHistory();
  readonly random: Random;
  readonly apps: TestApps;
  readonly dir: string;
  readonly fleet: Fleet;
  readonly tenants: ChangingTenants;
  readonly gateways: GatewayNode[] = [];
  readonly units: UnitNode[] = [];
  readonly client: ChaosClient;
  /** Of an admin, under way. */
  adminCalls = 0;
  backend!: Backend;
  store!: LocalStore;
  #objects!: FaultProxy;
  readonly #seed: number;
  #forks = 0;
  #rate = 0;
  #units = 0;
  #revision = 1;

  private constructor(seed: number, fleet: Fleet) {
    this.#seed = seed;
    this.random = this.fork();
    this.fleet = fleet;
    this.tenants = changingTenants(fleet);
    this.dir = mkdtempSync(join(FAST_DIR, 'penstock-chaos-'));
    this.apps = testApps([]);
    this.#setApp({});
    this.client = createChaosClient({
      fleet,
      history: this.history,
      random: this.fork(),
      gateways: () => this.live().map(({ clientPort }) => `http://127.0.0.1:${clientPort}`),
    });
  }

  static async open(driver: Driver, seed: number, ground: Ground): Promise<World> {
    const world = new World(seed, ground.fleet);
    const { dir, time } = world;
    const random = world.fork();
    const clock = time.process(0);
    if (driver === 'redis') {
      if (ground.redis === undefined) throw new Error('no Redis was started');
      const prefix = `chaos-${process.pid}-${dir.slice(-6)}`;
      world.backend = await redisBackend({ ...ground.redis, prefix, clock, random });
    } else {
      mkdirSync(join(dir, 'queue'));
      world.backend = embeddedBackend(join(dir, 'queue'), clock);
    }
    world.#objects = await startFaultProxy(() => world.someGateway()?.internalPort, random);
    const objects = `http://127.0.0.1:${world.#objects.port}/objects`;
    const urls = { clientUrl: objects, workerUrl: objects };
    world.store = await openLocalStore({
      root: join(dir, 'objects'),
      signingKey: ground.fleet.objectsKey,
      ...urls,
      clock,
      random,
    });
    return world;
  }

  /** Luck of its own for each part, so that what one part does changes nothing for the others. */
  fork(): Random {
    return seededRandom(this.#seed * 1_000_003 + this.#forks++ * 7_919);
  }

  caps(): Caps {
    return this.tenants.caps();
  }

  get revision(): string {
    return `rev${this.#revision}`;
  }

  live(): readonly GatewayNode[] {
    return this.gateways.filter((gateway) => !gateway.isDead());
  }

  someGateway(): GatewayNode | undefined {
    const live = this.live();
    return live[Math.floor(this.random.fraction() * live.length)];
  }

  liveUnits(): readonly UnitNode[] {
    return this.units.filter((unit) => !unit.isOver());
  }

  /** As many as the queue's driver allows at once. */
  async fillGateways(): Promise<void> {
    while (this.live().length < this.backend.gateways) {
      const skew = Math.round((this.random.fraction() * 2 - 1) * GATEWAY_SKEW_MS);
      const { backend, time, store, apps, fleet, history } = this;
      const random = this.fork();
      const clock = time.process(skew);
      const onKill = (port: number): void => {
        for (const network of [...this.units, this.#objects]) network.reset(port);
      };
      const shared = { backend, time, store, apps, fleet, tenants: this.tenants.source, history };
      const gateway = await startGatewayNode({ ...shared, clock, random, onKill });
      gateway.setRate(this.#rate);
      this.gateways.push(gateway);
    }
  }

  async addUnit(concurrency: number, batchSize: number): Promise<UnitNode> {
    const skew = Math.round((this.random.fraction() * 2 - 1) * WORKER_SKEW_MS);
    const { time, fleet, dir, revision } = this;
    const random = this.fork();
    const unit = await startUnitNode({
      name: `u${++this.#units}`,
      revision,
      concurrency,
      batchSize,
      time,
      clock: time.process(skew),
      fleet,
      random,
      dir,
      target: () => this.someGateway()?.internalPort,
    });
    unit.setRate(this.#rate);
    this.units.push(unit);
    return unit;
  }

  /** How unreliable every network of this world is. */
  setRate(rate: number): void {
    this.#rate = rate;
    for (const gateway of this.live()) gateway.setRate(rate);
    for (const unit of this.units) unit.setRate(rate);
    this.#objects.setRate(rate);
  }

  nextRevision(): void {
    this.#revision += 1;
    this.#setApp({});
  }

  delete(): void {
    this.#setApp({ deleting: true });
  }

  #setApp(patch: { readonly deleting?: boolean }): void {
    const app = testApp({ uid: APP_UID, revision: `rev${this.#revision}`, ...patch });
    const request = {
      ...app.spec.request,
      timeoutSeconds: 120,
      resultRetentionSeconds: RETENTION_SECONDS,
      retry: RETRY,
    };
    this.apps.set({ ...app, spec: { ...app.spec, request } });
  }

  async close(): Promise<void> {
    for (const unit of this.units) unit.kill();
    for (const gateway of this.live()) await gateway.stop();
    await this.client.close();
    this.#objects.kill();
    await this.store.close();
    await this.backend.close();
    rmSync(this.dir, { recursive: true, force: true });
  }
}
