// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { describe, expect, inject, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { openEmbeddedQueue, openRedisQueue } from '#gateway/queue/open.ts';
import { COST_LIMIT_MICROS, MAX_ENQUEUE, RENORMALISE_ABOVE } from '#gateway/queue/limits.ts';
import { LEASE_MS, onFresh } from './lease-queue.harness.ts';
import type { QueueDriver, Scenario } from './lease-queue.harness.ts';

/** More than Lua's stack holds values. */
const TENANTS = 10_000;
/** So many of the most costly ones bring a lane's time above the limit. */
const COSTLY = Math.ceil(RENORMALISE_ABOVE / COST_LIMIT_MICROS) + 2;
const BASE = { clock: systemClock, logger: silentLogger };
const DRIVERS: readonly QueueDriver[] = [
  { name: 'embedded', fresh: () => Promise.resolve(openEmbeddedQueue({ ...BASE, file: ':memory:' })) },
  {
    name: 'redis',
    fresh: () =>
      openRedisQueue({
        ...BASE,
        url: inject('servers').redis.url,
        prefix: `test-${randomBytes(6).toString('hex')}`,
      }),
  },
];

/** The lane's time is above the limit afterwards; so many leases of one tenant are held, and one request of it waits. */
async function runFar(s: Scenario): Promise<void> {
  const costly = Array.from({ length: COSTLY + 1 }, () => s.request({ tenant: 'mallory', cost: COST_LIMIT_MICROS }));
  await s.queue.enqueue(costly, s.now);
  expect((await s.ask('u1', { max: COSTLY })).leases).toHaveLength(COSTLY);
}

describe.each(DRIVERS)('$name: an app of ten thousand tenants', (driver) => {
  it(
    'loses nothing when its times come down in the step in which leases run out',
    { timeout: 120_000 },
    onFresh(driver, async (s) => {
      await runFar(s);
      for (let i = 0; i < TENANTS; i += MAX_ENQUEUE) {
        const some = Array.from({ length: MAX_ENQUEUE }, (_, k) => s.request({ tenant: `t${i + k}` }));
        await s.queue.enqueue(some, s.now);
      }
      s.now += LEASE_MS;
      expect((await s.expire()).expired).toBe(COSTLY);
      const queued = TENANTS + COSTLY + 1;
      expect(await s.queue.demand(s.app)).toMatchObject({ queued, leased: 0, units: [{ leases: 0 }] });
      expect((await s.expire()).expired).toBe(0);
      // Suspects one by one, then the least served: all that was queued can be leased.
      expect((await s.ask('u2')).leases[0]?.record.tenant).toBe('mallory');
      const { leases } = await s.ask('u3', { max: 64, lanes: ['online'] });
      expect(leases).toHaveLength(1);
      expect(await s.queue.demand(s.app)).toMatchObject({ queued: queued - 2, leased: 2 });
    }),
  );

  it(
    'is not rewritten in every step while one of them is far behind the others',
    onFresh(driver, async (s) => {
      // Its revision is not the current one, and has a unit that asks for nothing.
      await s.add({ tenant: 'behind', revision: 'r2' });
      await s.ask('u9', { revision: 'r2', max: 0, currentRevision: 'r1' });
      await runFar(s);
      for (let i = 0; i < 2; i++) await s.expire();
      const before = await s.queue.generation(s.app);
      await s.expire();
      expect(await s.queue.generation(s.app)).toBe(before);
    }),
  );
});
