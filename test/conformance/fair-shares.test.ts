// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { describe, expect, inject, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { openEmbeddedQueue, openRedisQueue } from '#gateway/queue/open.ts';
import { Simulation, worstShare } from './fair-simulation.ts';
import type { SimTenant } from './fair-simulation.ts';

const DEPS = { clock: systemClock, logger: silentLogger };
const SLOTS = 4;
/** Percentage points. */
const TOLERANCE = 2;
const FLOOD = 100_000;

const opens: readonly [string, () => Promise<LeaseQueue> | LeaseQueue][] = [
  ['embedded', () => openEmbeddedQueue({ ...DEPS, file: ':memory:' })],
  [
    'redis',
    () =>
      openRedisQueue({ ...DEPS, url: inject('servers').redis.url, prefix: `test-${randomBytes(6).toString('hex')}` }),
  ],
];

const always = (ms: number) => () => ms;
/** From 10 ms to a second, as many of each order of magnitude. */
const anything = (random: Random): number => Math.round(10 * 100 ** random.fraction());
const tenants = (weights: readonly number[], times: readonly number[]): SimTenant[] =>
  weights.map((weight, i) => ({ name: `t${i}`, weight, serviceMs: always(times[i]!) }));

/** The bound of start-time fair queueing on several servers: a request cannot be cut short, on any of the slots. */
function lagBound(all: readonly SimTenant[], longestMs: number): number {
  return ((SLOTS + 1) * longestMs) / Math.min(...all.map((one) => one.weight));
}

describe.each(opens)('%s: shares of GPU time', { concurrent: true, timeout: 1_200_000 }, (name, open) => {
  async function simulate(seed: number, test: (simulation: Simulation) => Promise<void>): Promise<void> {
    const queue = await open();
    try {
      await test(new Simulation(queue, SLOTS, seed));
    } finally {
      await queue.close();
    }
  }

  const equalTimes: [string, number[]][] = [
    ['equal weights', [1, 1, 1]],
    ['weights 1:2:7', [1, 2, 7]],
  ];
  it.each(equalTimes)('%s, equal service times: right in every window of 1 000 leases', async (what, weights) => {
    const all = tenants(weights, [100, 100, 100]);
    await simulate(1, async (simulation) => {
      for (const one of all) await simulation.join(one);
      await simulation.run(4_000);
      const worst = worstShare(simulation.given, all, 1_000);
      console.log(`${name}, ${what}: ${worst.toFixed(2)} points off, lag ${simulation.worstLag.toFixed(0)} ms`);
      expect(worst).toBeLessThanOrEqual(TOLERANCE);
      expect(simulation.worstLag).toBeLessThanOrEqual(lagBound(all, 100));
    });
  });

  const unequalTimes: [string, number[]][] = [
    ['equal weights', [1, 1, 1, 1]],
    ['weights 1:2:7, the flood one more', [1, 2, 7, 1]],
  ];
  it.each(unequalTimes)(
    '%s, service times 100 times apart, one flooding: right in every window of 20 000 leases',
    async (what, weights) => {
      const [flood, mixed, ...others] = tenants(weights.toReversed(), [10, 100, 1_000, 10]);
      const all = [{ ...flood!, flood: FLOOD }, { ...mixed!, serviceMs: anything }, ...others];
      await simulate(2, async (simulation) => {
        for (const one of all) await simulation.join(one);
        await simulation.run(21_000);
        const worst = worstShare(simulation.given, all, 20_000);
        console.log(`${name}, ${what}: ${worst.toFixed(2)} points off, lag ${simulation.worstLag.toFixed(0)} ms`);
        expect(worst).toBeLessThanOrEqual(TOLERANCE);
        expect(simulation.worstLag).toBeLessThanOrEqual(lagBound(all, 1_000));
      });
    },
  );

  it('with exact costs a newcomer behind the flood waits for at most one more lease of each other tenant', async () => {
    const [flood, ...others] = tenants([1, 1, 2, 7], [10, 100, 1_000, 30]).map((one) => ({ ...one, isExact: true }));
    await simulate(3, async (simulation) => {
      for (const one of [{ ...flood!, flood: FLOOD }, ...others]) await simulation.join(one);
      for (let round = 0; round < 20; round++) {
        await simulation.run(50 + 7 * round);
        const before = simulation.given.length;
        // Also one whose name comes last among equal tags.
        const newcomer = {
          name: `${round % 2 === 0 ? 'a' : 'z'}${round}`,
          weight: 1,
          serviceMs: always(50),
          isExact: true,
        };
        await simulation.join({ ...newcomer, flood: 1 });
        await simulation.run(6 + round);
        const since = simulation.given.slice(before).map((one) => one.tenant);
        const waited = since.slice(0, since.indexOf(newcomer.name));
        expect(since).toContain(newcomer.name);
        expect(new Set(waited).size, `before ${newcomer.name}: ${waited.join(' ')}`).toBe(waited.length);
      }
    });
  });
});
