// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { cpSync, readdirSync, rmSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { inject } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { WireLease } from '#base/wire/broker.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { MIRRORED_RUN_KEY, generationKey } from '#gateway/store/keys.ts';
import type { ObjectStore } from '#gateway/store/object-store.ts';
import { openS3Store } from '#gateway/store/open.ts';
import { startRedis } from '#test/servers/redis.ts';
import type { RedisServer } from '#test/servers/redis.ts';
import { until } from '#test/until.ts';
import { submit } from './gateway.client.ts';
import { makeFleet, startStack, testApp } from './gateway.harness.ts';
import type { Fleet, Stack, TestUnit } from './gateway.harness.ts';

/** A walk over a handful of requests takes milliseconds; Redis' restart and the reconnect some hundred. All on a loaded machine. */
export const PATIENCE = { timeoutMs: 60_000 };

/** One gateway of a deployment. */
export interface Member extends Stack {
  /** As `kill -9` leaves it: nothing more reaches the store or the queue. */
  readonly kill: () => Promise<void>;
}

/** What outlives gateways: a prefix of the bucket, and what each opens its queue on. */
export interface House {
  readonly store: ObjectStore;
  readonly gateway: () => Promise<Member>;
  readonly close: () => Promise<void>;
}

export interface Deployment extends House {
  /** Of its own, with its log. */
  readonly redis: RedisServer;
}

export async function deployment(): Promise<Deployment> {
  const redis = await startRedis({ appendonly: true, fsync: 'always' });
  const house = await houseOn(() => openRedisQueue({ url: redis.url, clock: systemClock, logger: silentLogger }));
  return {
    ...house,
    redis,
    close: async () => {
      await house.close();
      await redis.stop();
    },
  };
}

export async function houseOn(openQueue: () => Promise<LeaseQueue>): Promise<House> {
  const { s3 } = inject('servers');
  const prefix = `recovery-${randomBytes(6).toString('hex')}/`;
  const store = await openS3Store({ ...s3, publicEndpoint: s3.endpoint, prefix, clock: systemClock });
  const fleet = await makeFleet();
  const members = new Set<Member>();
  return {
    store,
    gateway: async () => await enlist(await openQueue(), store, fleet, members),
    close: async () => {
      for (const member of members) await member.kill();
      await store.close();
    },
  };
}

async function enlist(queue: LeaseQueue, store: ObjectStore, fleet: Fleet, members: Set<Member>): Promise<Member> {
  const cut = new AbortController();
  const stack = await startStack({ queue, fleet, store: cuttable(store, cut.signal), apps: [testApp()] });
  const kill = async (): Promise<void> => {
    if (!members.delete(member)) return;
    cut.abort(new Error('the process was killed'));
    await stack.close();
    await queue.close();
  };
  const member: Member = { ...stack, kill };
  members.add(member);
  return member;
}

/** A store that a killed process cannot reach any more. */
function cuttable(store: ObjectStore, signal: AbortSignal): ObjectStore {
  return new Proxy(store, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name);
      if (typeof value !== 'function') return value;
      return async (...args: readonly unknown[]): Promise<unknown> => {
        signal.throwIfAborted();
        return await (value.apply(target, args) as Promise<unknown>);
      };
    },
  });
}

/** Where the log ends now: what was answered before is in it, since it is synced always. */
export function logSize(redis: RedisServer): number {
  return statSync(lastLog(redis)).size;
}

/** The file at whose end Redis appends. */
function lastLog({ dir }: RedisServer): string {
  const folder = join(dir, 'appendonlydir');
  const logs = readdirSync(folder).filter((name) => name.endsWith('.incr.aof'));
  const number = (name: string): number => Number(/\.(\d+)\.incr\.aof$/.exec(name)?.[1]);
  return join(folder, logs.toSorted((a, b) => number(a) - number(b)).at(-1) ?? '');
}

/** A power cut: Redis is gone, and its log ends in the middle of the transaction that began at `kept`. */
export async function tearLog(redis: RedisServer, kept: number): Promise<void> {
  await redis.kill9();
  // Past its MULTI, before its EXEC: Redis drops the whole of it when it loads the log.
  truncateSync(lastLog(redis), kept + 40);
}

/** Puts all that Redis keeps on disk into a folder beside it, and answers a way back to that state. */
export async function backUp(redis: RedisServer): Promise<{ restore(): Promise<void> }> {
  const [live, backup] = [join(redis.dir, 'appendonlydir'), join(redis.dir, 'backup')];
  await redis.restart();
  cpSync(live, backup, { recursive: true });
  return {
    restore: async () => {
      await redis.kill9();
      rmSync(live, { recursive: true });
      cpSync(backup, live, { recursive: true });
    },
  };
}

/** Waits until the mirror says what this gateway has seen of the queue. */
export async function untilMirrored({ queue, store }: Pick<Stack, 'queue' | 'store'>): Promise<void> {
  const seen = queue.generations().get('uid-echo') ?? 0;
  await until(
    async () => {
      const entry = JSON.parse(await textOf(store, generationKey('uid-echo'))) as { generation: number };
      return entry.generation >= seen;
    },
    { what: `generation ${seen} in the mirror`, ...PATIENCE },
  );
}

/** The run of the queue that the gateways have settled on. @throws while there is none */
export async function mirroredRun(store: ObjectStore): Promise<string> {
  return await textOf(store, MIRRORED_RUN_KEY);
}

async function textOf(store: ObjectStore, key: string): Promise<string> {
  const { body } = await store.get(key);
  return (await body.toArray()).map(String).join('');
}

/** The value of a counter, of all its labels that match. */
export async function count({ registry }: Pick<Stack, 'registry'>, metric: string, labels = ''): Promise<number> {
  const lines = (await registry.metrics()).split('\n');
  const found = lines.filter((line) => line.startsWith(`${metric}{`) && line.includes(labels));
  return found.reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
}

export const regressions = (s: Stack, kind: 'went-back' | 'suspect'): Promise<number> =>
  count(s, 'penstock_queue_regressions_total', `kind="${kind}"`);

/** Waits until one of the gateways has counted a loss (whoever raised the generation first spares the others), and all are done with it. */
export async function untilRecovered(kind: 'went-back' | 'suspect', ...members: readonly Stack[]): Promise<void> {
  const sum = async (of: (s: Stack) => Promise<number>): Promise<number> =>
    (await Promise.all(members.map(of))).reduce((x, y) => x + y, 0);
  const held = (s: Stack): Promise<number> => count(s, 'penstock_recovery_held_apps');
  await until(async () => (await sum((s) => regressions(s, kind))) > 0 && (await sum(held)) === 0, {
    what: `the end of a recovery (${kind})`,
    ...PATIENCE,
  });
}

/** Submits, and runs it to its end: what the worker was given, and its result. */
export async function finishOne(
  s: Stack,
  worker: TestUnit,
  text: string,
): Promise<{ readonly ticket: string; readonly lease: WireLease; readonly result: Buffer }> {
  const ticket = await submit(s, text);
  const lease = await worker.one();
  const result = randomBytes(30_000);
  const outcome = await worker.upload(lease, result, 'application/x-result');
  if (outcome !== 'committed') throw new Error(`the result was ${outcome}`);
  return { ticket, lease, result };
}
