// SPDX-License-Identifier: Apache-2.0
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createSigner } from '#base/issuer.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import type { Random } from '#base/random.ts';
import { OPERATOR_ISSUER, UNIT_AUDIENCE, UNIT_TOKEN_SECONDS } from '#base/wire/claims.ts';
import { runUnit } from '#worker/unit.ts';
import type { ProcessClock, ScheduleClock } from './clock.ts';
import { fakeExecutor } from './fake-executor.ts';
import { startFaultProxy } from './fault-proxy.ts';
import { APP_NAME, APP_NAMESPACE, APP_UID } from './fleet.ts';
import type { Fleet } from './fleet.ts';
import { unitConfig } from './unit-config.ts';

/** Of the schedule's time; a lease lasts 30 s. */
const SLOW_MS = 40_000;
const HANG_MS = 90_000;

export interface UnitNodeOptions {
  readonly name: string;
  readonly revision: string;
  readonly concurrency: number;
  readonly batchSize: number;
  readonly time: ScheduleClock;
  readonly clock: ProcessClock;
  readonly fleet: Fleet;
  readonly random: Random;
  /** Where its token is written. */
  readonly dir: string;
  /** A gateway's internal port; asked at every new connection. */
  readonly target: () => number | undefined;
}

/** A production unit with a handler that takes no time, which can die at any moment. */
export interface UnitNode {
  readonly name: string;
  readonly revision: string;
  isOver(): boolean;
  isDead(): boolean;
  /** By the operator, after its end. */
  isRetired(): boolean;
  setRetired(retired: boolean): void;
  setRate(rate: number): void;
  /** Its connections break, or those to one gateway; new ones may lead to another gateway. */
  reset(port?: number): void;
  kill(): void;
  /** SIGTERM. */
  stop(): void;
}

export async function startUnitNode(options: UnitNodeOptions): Promise<UnitNode> {
  const { name, revision, clock, fleet, random, dir, target } = options;
  const network = await startFaultProxy(target, random);
  const unitTokenFile = join(dir, `${name}.token`);
  const signer = await createSigner(fleet.operatorKey, options.time.process(0));
  const claims = { app_uid: APP_UID, namespace: APP_NAMESPACE, app: APP_NAME, revision, placement: 'local' };
  const subject = { iss: OPERATOR_ISSUER, aud: UNIT_AUDIENCE, sub: name };
  writeFileSync(unitTokenFile, await signer.sign({ ...subject, ...claims }, UNIT_TOKEN_SECONDS));
  const stopping = new AbortController();
  let dead = false;
  let over = false;
  let retired = false;
  const kill = (): void => {
    if (dead) return;
    dead = true;
    over = true;
    clock.freeze();
    network.kill();
  };
  const executor = fakeExecutor({
    unit: name,
    slots: options.concurrency > 2 ? 2 : 1,
    batchSize: options.batchSize,
    clock,
    isDead: () => dead,
    die: kill,
    slowMs: SLOW_MS,
    hangMs: HANG_MS,
  });
  void runUnit({
    config: unitConfig({ port: network.port, unitTokenFile, ...options }),
    clock,
    random,
    logger: silentLogger,
    registry: createRegistry('unit', false),
    createExecutor: () => executor,
    stop: stopping.signal,
    onReady: () => {},
  }).then(
    () => {
      over = true;
      network.kill();
    },
    () => {
      over = true;
    },
  );
  return {
    name,
    revision,
    isOver: () => over,
    isDead: () => dead,
    isRetired: () => retired,
    setRetired: (is) => {
      retired = is;
    },
    setRate: network.setRate,
    reset: network.reset,
    kill,
    stop: () => stopping.abort(new Error('SIGTERM')),
  };
}
