// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, expect, inject, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { LogFields } from '#base/logger.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { LEASE_MS, Scenario } from './lease-queue.harness.ts';

/** What a log that ends too early, or a hand in the data, may leave: it must not hold up the rest of the app, nor other apps. */
const prefix = `test-${randomBytes(6).toString('hex')}`;
const warned: LogFields[] = [];
let redis: Redis;
let queue: LeaseQueue;
let s: Scenario;

const keyOf = (name: string, app = s.app): string => `${prefix}:{${app}}:${name}`;

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

it('a place with less than was counted holds up nobody: what is there is leased', async () => {
  await s.add({ tenant: 'a' });
  const other = await s.add({ tenant: 'b' });
  await redis.del(keyOf('q:0:r1:a'));
  const lease = await s.take();
  expect(lease.id).toBe(other);
  expect((await s.ask('u2')).leases).toEqual([]);
  expect(await s.complete(lease)).toBe('committed');
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
