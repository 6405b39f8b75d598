// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, inject, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { EXPIRE_STEP } from '#gateway/queue/limits.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { LEASE_MS, Scenario, text } from './lease-queue.harness.ts';

/** A lost key is made anew from the records, in parts, while the app is served. */
const prefix = `test-${randomBytes(6).toString('hex')}`;
let redis: Redis;
let queue: LeaseQueue;
let s: Scenario;

const keyOf = (name: string): string => `${prefix}:{${s.app}}:${name}`;
const packed = (id: string): Buffer => Buffer.from(id.replaceAll('-', ''), 'hex');

/** Expire steps until no other one is due at once. */
async function expireToTheEnd(most = 50): Promise<number> {
  for (let steps = 1; steps <= most; steps++) {
    const { nextAt } = await s.expire();
    if (nextAt === undefined || nextAt > s.now) return steps;
  }
  throw new Error(`${most} steps were not enough`);
}

async function addMany(n: number, tenants: number): Promise<void> {
  for (let at = 0; at < n; at += 500) {
    const some = Array.from({ length: Math.min(500, n - at) }, (_, i) => s.request({ tenant: `t${i % tenants}` }));
    await queue.enqueue(some, s.now);
  }
}

/** How many are leased, and completed, until there is no more. */
async function workOff(): Promise<number> {
  for (let all = 0; ;) {
    const { leases } = await s.ask('u1', { max: 256 });
    if (leases.length === 0) return all;
    all += leases.length;
    const done = leases.map(({ id, token }) => ({ id, token, result: text('out'), serviceMicros: 1 }));
    expect(new Set(await queue.complete(s.app, 'u1', done, s.now))).toEqual(new Set(['committed']));
  }
}

/** Nothing is counted and nothing is kept of what was worked off. */
async function expectIdle(): Promise<void> {
  expect(await queue.demand(s.app)).toMatchObject({ queued: 0, leased: 0, queuedByRevision: {} });
  expect(await queue.retire(s.app, 'u1', s.now)).toBe('retired');
  for (const pattern of ['t', 'q:*', 'act:*', 'arr:*', 'sus:*', 'lease'])
    expect(await redis.keys(keyOf(pattern))).toEqual([]);
}

beforeAll(async () => {
  const { url } = inject('servers').redis;
  redis = new Redis(url);
  queue = await openRedisQueue({ url, clock: systemClock, logger: silentLogger, prefix });
});
afterAll(async () => {
  await queue.close();
  redis.disconnect();
});
beforeEach(() => {
  s = new Scenario(queue);
});

it('a tenant that stands in the order alone, without counts, work or record, holds up nobody', async () => {
  const lost = await s.add({ tenant: 'a' });
  const kept = await s.add({ tenant: 'b' });
  await redis.del(keyOf('t'), keyOf('q:0:r1:a'));
  await redis.hdel(keyOf('rq'), packed(lost));
  const { leases } = await s.ask('u1', { max: 3 });
  expect(leases.map(({ id }) => id)).toEqual([kept]);
  for (const lease of leases) expect(await s.complete(lease)).toBe('committed');
  await expireToTheEnd();
  await expectIdle();
});

it('many tenants that stand in the order alone: a lease call gives up after some, and the next ones go on', async () => {
  const last = await s.add({ tenant: 'z' });
  await redis.zadd(keyOf('act:0:r1'), ...Array.from({ length: 1_000 }, (_, i) => [-1, `ghost${i}`]).flat());
  const before = await redis.zcard(keyOf('act:0:r1'));
  await s.ask('u1');
  const gone = before - (await redis.zcard(keyOf('act:0:r1')));
  expect(gone).toBeGreaterThan(0);
  expect(gone).toBeLessThan(200);
  const taken: string[] = [];
  for (let call = 0; call < 20 && taken.length === 0; call++) {
    const { leases, verdict } = await s.ask('u1');
    expect(verdict).toBe('stay');
    taken.push(...leases.map(({ id }) => id));
  }
  expect(taken).toEqual([last]);
});

it(
  'a large place is made anew in parts, none of them long, and nothing of it is lost',
  { timeout: 120_000 },
  async () => {
    const n = 2_000;
    await addMany(n, 7);
    await redis.del(keyOf('arr:0:r1'));
    await s.expire();
    // HSCAN may answer somewhat more than it is asked for.
    const first = await redis.zcard(keyOf('arr:0:r1'));
    expect(first).toBeGreaterThan(0);
    expect(first).toBeLessThan(EXPIRE_STEP * 2);
    expect((await queue.demand(s.app)).queued).toBe(n);
    // Served meanwhile.
    const { leases } = await s.ask('u1', { max: 10 });
    expect(leases).toHaveLength(10);
    for (const lease of leases) expect(await s.complete(lease)).toBe('committed');
    const steps = await expireToTheEnd();
    expect(steps).toBeGreaterThanOrEqual(n / EXPIRE_STEP / 2);
    expect(await redis.zcard(keyOf('arr:0:r1'))).toBe(n - 10);
    expect((await queue.demand(s.app)).queued).toBe(n - 10);
    expect(await workOff()).toBe(n - 10);
    await expectIdle();
  },
);

it('a unit is not sent away while what waits is being counted anew', async () => {
  await addMany(EXPIRE_STEP * 4, 3);
  await redis.del(keyOf('m'), keyOf('t'));
  await s.expire();
  expect((await s.ask('u1', { max: 1, lingerMs: 0 })).verdict).toBe('stay');
  await expireToTheEnd();
  expect(await workOff()).toBeGreaterThanOrEqual(EXPIRE_STEP * 4 - 1);
});

it.each([
  ['the order of the tenants', ['act:0:r1']],
  ['tenants and arrivals', ['t', 'arr:0:r1']],
  ['the state of the app', ['m']],
  ['the state of the app and its tenants', ['m', 't']],
  ['deadlines, arrivals and work', ['dl', 'arr:0:r1', 'q:0:r1:a', 'q:0:r1:b']],
])('where %s was lost, all is leased that was queued', async (_, keys) => {
  const all = [
    await s.add({ tenant: 'a', deadline: s.now + LEASE_MS }),
    await s.add({ tenant: 'b' }),
    await s.add({ tenant: 'b' }),
  ];
  await redis.del(...keys.map(keyOf));
  await expireToTheEnd();
  expect(await queue.demand(s.app)).toMatchObject({ queued: 3 });
  const { leases } = await s.ask('u1', { max: 5 });
  expect(leases.map(({ id }) => id).toSorted()).toEqual(all.toSorted());
  for (const lease of leases) expect(await s.complete(lease)).toBe('committed');
  await expectIdle();
});

it('tenants whose counts were lost, and one of whose requests is cancelled since, are counted anew', async () => {
  const first = await s.add({ tenant: 'a' });
  const second = await s.add({ tenant: 'a' });
  await redis.del(keyOf('t'));
  const third = await s.add({ tenant: 'b' });
  await queue.cancel(s.app, first, s.now);
  await expireToTheEnd();
  const { leases } = await s.ask('u1', { max: 5 });
  expect(leases.map(({ id }) => id).toSorted()).toEqual([second, third].toSorted());
  for (const lease of leases) expect(await s.complete(lease)).toBe('committed');
  await expectIdle();
});

it('where the ends of leases were lost, they run out, and their tenants have their places back', async () => {
  const share = { weight: 1, maxInFlight: 1 };
  const which = await s.add({ share });
  await s.take();
  await redis.del(keyOf('lease'));
  await expireToTheEnd();
  expect(await queue.demand(s.app)).toMatchObject({ leased: 1 });
  s.now += 10 * LEASE_MS;
  await expireToTheEnd();
  expect(await queue.demand(s.app)).toMatchObject({ queued: 1, leased: 0 });
  const lease = await s.take('u2');
  expect(lease.id).toBe(which);
  expect(await s.complete(lease, 'u2')).toBe('committed');
  await expectIdle();
});

it('where the list of finished records was lost, they are swept at their time', async () => {
  await s.add();
  expect(await s.complete(await s.take())).toBe('committed');
  await redis.del(keyOf('fin'));
  await expireToTheEnd();
  expect(await redis.zcard(keyOf('fin'))).toBe(1);
});

it('an app whose finished records no set names is purged to the end', { timeout: 120_000 }, async () => {
  // More of the table is emptied than one HSCAN from its beginning looks at.
  const n = 1_000;
  await addMany(n, 3);
  expect(await workOff()).toBe(n);
  await redis.del(keyOf('fin'));
  let steps = 0;
  for (let left = n; ; steps++) {
    if ((await queue.purge(s.app, 10, s.now)).done) break;
    const now = await redis.hlen(keyOf('rq'));
    expect(now === 0 || now < left).toBe(true);
    left = now;
  }
  expect(steps).toBeLessThan(n / 10 + 5);
  expect(await redis.keys(keyOf('*'))).toEqual([keyOf('m')]);
});
