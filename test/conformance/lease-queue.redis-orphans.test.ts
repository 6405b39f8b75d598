// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, inject, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { LogFields } from '#base/logger.ts';
import type { Lease, LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { LEASE_MS, Scenario } from './lease-queue.harness.ts';

/** What a log that ends too early, or a hand in the data, may leave: it must not hold up the rest of the app, nor other apps. */
const prefix = `test-${randomBytes(6).toString('hex')}`;
const warned: LogFields[] = [];
let redis: Redis;
let queue: LeaseQueue;
let s: Scenario;

const keyOf = (name: string, app = s.app): string => `${prefix}:{${app}}:${name}`;

/** Their records, as an evicted or damaged key takes them along. */
async function lose(...ids: (string | undefined)[]): Promise<void> {
  for (const id of ids) await redis.hdel(keyOf('rq'), Buffer.from((id ?? '').replaceAll('-', ''), 'hex'));
}

/** Completes them; then nothing is counted any more, and the unit may go. */
async function expectAllGone(leases: readonly Lease[]): Promise<void> {
  for (const lease of leases) expect(await s.complete(lease)).toBe('committed');
  expect(await s.queue.demand(s.app)).toMatchObject({ queued: 0, leased: 0, queuedByRevision: {} });
  expect(await s.queue.retire(s.app, 'u1', s.now)).toBe('retired');
  expect(await redis.keys(keyOf('t'))).toEqual([]);
}

beforeAll(async () => {
  const { url } = inject('servers').redis;
  redis = new Redis(url);
  const logger = { ...silentLogger, warn: (fields: LogFields) => void warned.push(fields) };
  queue = await openRedisQueue({ url, clock: systemClock, logger, prefix });
});
afterAll(async () => {
  await queue.close();
  redis.disconnect();
});
beforeEach(() => {
  s = new Scenario(queue);
});

it('an id without a record among leases and deadlines goes, and what stands behind it ends', async () => {
  const late = await s.add({ deadline: s.now + 10 });
  const leased = await s.take('u1', { max: 1 });
  const second = await s.add({ deadline: s.now + 10 });
  for (const list of ['lease', 'dl']) await redis.zadd(keyOf(list), 1, randomBytes(16));
  s.now += LEASE_MS;
  await s.expire();
  expect(leased.id).toBe(late);
  expect((await s.record(late)).losses).toBe(1);
  expect((await s.record(second)).state).toBe('expired');
  for (const list of ['lease', 'dl']) expect(await redis.zcount(keyOf(list), 1, 1)).toBe(0);
});

it('an id without a record among the suspects goes, and the suspect behind it is leased', async () => {
  const lost = await s.add();
  await s.take();
  s.now += LEASE_MS;
  await s.expire();
  const orphan = Buffer.concat([Buffer.alloc(6), randomBytes(16), Buffer.from([32])]);
  await redis.zadd(keyOf('sus:0:r1'), '-inf', orphan);
  expect((await s.take('u2')).id).toBe(lost);
  expect(await redis.zcard(keyOf('sus:0:r1'))).toBe(0);
});

it('a place with less than was counted is counted anew: what has a record is leased, and nobody is held up', async () => {
  const all = [await s.add({ tenant: 'a' }), await s.add({ tenant: 'a' }), await s.add({ tenant: 'b' })];
  await redis.del(keyOf('q:0:r1:a'));
  await lose(all[1]);
  const { leases } = await s.ask('u1', { max: 3 });
  expect(leases.map((one) => one.id).toSorted()).toEqual([all[0], all[2]]);
  expect((await s.ask('u2')).leases).toEqual([]);
  await expectAllGone(leases);
});

it('a request without its record costs those that are leased with it nothing', async () => {
  const all = [await s.add(), await s.add(), await s.add({ deadline: s.now + 1 }), await s.add()];
  s.now += 1;
  await lose(all[1], all[2]);
  const { leases } = await s.ask('u1', { max: 4 });
  expect(leases.map((one) => one.id)).toEqual([all[0], all[3]]);
  expect(await s.queue.demand(s.app)).toMatchObject({ queued: 0, leased: 2, units: [{ unit: 'u1', leases: 2 }] });
  await expectAllGone(leases);
});

it('work of a revision that nobody serves moves on without those that have lost their records', async () => {
  const all = [await s.add({ revision: 'old' }), await s.add({ revision: 'old' }), await s.add({ revision: 'old' })];
  await lose(all[0]);
  await s.expire();
  expect(await s.queue.demand(s.app)).toMatchObject({ queued: 2, queuedByRevision: { r1: 2 } });
  const { leases } = await s.ask('u1', { max: 3 });
  expect(leases.map((one) => one.id)).toEqual(all.slice(1));
  await expectAllGone(leases);
});

it('an app with requests that have lost their records, their places or both is purged to the end', async () => {
  const all = [
    await s.add({ tenant: 'a' }),
    await s.add({ tenant: 'b' }),
    await s.add({ lane: 'batch' }),
    await s.add(),
  ];
  await lose(all[0], all[2]);
  await redis.del(keyOf('q:0:r1:b'));
  for (let step = 0; step < 10 && !(await queue.purge(s.app, 2, s.now)).done; step++);
  expect(await redis.keys(`*${s.app}*`)).toEqual([keyOf('m')]);
});

it.each(['arr:0:r1', 'q:0:r1:acme', 't'])('an app is told of and worked off where %s was lost', async (list) => {
  const all = [await s.add({ deadline: s.now + LEASE_MS }), await s.add()];
  await redis.del(keyOf(list));
  expect(await s.queue.demand(s.app)).toMatchObject({ queued: 2 });
  await s.expire();
  expect(await s.queue.demand(s.app)).toMatchObject({ queued: 2, queuedByRevision: { r1: 2 } });
  const { leases } = await s.ask('u1', { max: 3 });
  expect(leases.map((one) => one.id)).toEqual(all);
  await expectAllGone(leases);
});

it('a unit that asks where its tenants were forgotten is given their work', async () => {
  const all = [await s.add({ tenant: 'a' }), await s.add({ tenant: 'b' }), await s.add({ tenant: 'b' })];
  await redis.del(keyOf('t'));
  await s.queue.cancel(s.app, all[2] ?? '', s.now);
  const { leases } = await s.ask('u1', { max: 3 });
  expect(leases.map((one) => one.id).toSorted()).toEqual(all.slice(0, 2));
  await expectAllGone(leases);
});

it('batch work whose age was lost waits until it is counted anew', async () => {
  const which = await s.add({ lane: 'batch' });
  await redis.del(keyOf('arr:1:r1'));
  const { leases } = await s.ask('u1', { starvationGraceMs: 0 });
  expect(leases.map((one) => one.id)).toEqual([which]);
  await expectAllGone(leases);
});

it('a place that is counted and where nothing is left is forgotten: units may leave', async () => {
  await lose(await s.add());
  await redis.del(keyOf('arr:0:r1'), keyOf('q:0:r1:acme'));
  expect((await s.queue.demand(s.app)).queued).toBe(1);
  await s.expire();
  expect((await s.queue.demand(s.app)).queued).toBe(0);
});

it('suspects whose list was lost are leased again, and their tenant has all its places back', async () => {
  const share = { weight: 1, maxInFlight: 1 };
  const all = [await s.add({ share })];
  await s.take();
  s.now += LEASE_MS;
  await s.expire();
  await redis.del(keyOf('sus:0:r1'));
  await s.expire();
  all.push(await s.add({ share }));
  const taken = [];
  for (const unit of ['u2', 'u3']) {
    const lease = await s.take(unit);
    taken.push(lease.id);
    expect(await s.complete(lease, unit)).toBe('committed');
  }
  expect(taken).toEqual(all);
  expect(await s.queue.demand(s.app)).toMatchObject({ queued: 0, leased: 0 });
});

it('an app whose step fails costs the others nothing: they are told of, it is named, and it is due again soon', async () => {
  const broken = new Scenario(queue);
  await broken.add();
  await s.add({ retry: { maxAttempts: 1, maxLosses: 0 } });
  await s.take();
  await redis.hset(keyOf('m', broken.app), 's', 'no state');
  s.now += LEASE_MS;
  warned.length = 0;
  const step = await s.expire();
  expect(step).toMatchObject({ expired: 1, deadLetters: 1 });
  expect(step.nextAt).toBeGreaterThan(s.now);
  expect(step.nextAt).toBeLessThanOrEqual(s.now + 1_000);
  expect(warned).toMatchObject([{ app: broken.app }]);
  await redis.del(keyOf('m', broken.app));
});
