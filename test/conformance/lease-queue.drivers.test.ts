// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { expect, inject, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { openEmbeddedQueue, openRedisQueue } from '#gateway/queue/open.ts';
import { plain } from './lease-queue.harness.ts';
import { Player, histories, recount, view } from './lease-queue.history.ts';
import type { Step } from './lease-queue.history.ts';

/** A failing run prints its seed and path: put them here to replay it. */
const SEED = 20_260_101;
const RUNS = 60;

async function expectAlike(history: readonly Step[], embedded: LeaseQueue, redis: LeaseQueue): Promise<void> {
  const player = new Player(`app-${randomBytes(6).toString('hex')}`);
  for (const step of history) {
    const call = player.call(step);
    if (call === undefined) continue;
    const answers = [plain(await call(embedded)), plain(await call(redis))];
    expect(answers[1], `redis after ${JSON.stringify(step)}`).toEqual(answers[0]);
  }
  expect(await view(redis, player)).toEqual(await view(embedded, player));
  for (const queue of [embedded, redis]) {
    const { counted, told } = await recount(queue, player);
    expect(told).toEqual(counted);
  }
}

it('both drivers answer the same to the same random histories, and their counters equal a recount', async () => {
  expect.hasAssertions();
  const { url } = inject('servers').redis;
  await fc.assert(
    fc.asyncProperty(histories, async (history) => {
      const base = { clock: systemClock, logger: silentLogger };
      const embedded = openEmbeddedQueue({ ...base, file: ':memory:' });
      const redis = await openRedisQueue({ ...base, url, prefix: `test-${randomBytes(6).toString('hex')}` });
      try {
        await expectAlike(history, embedded, redis);
      } finally {
        await Promise.all([embedded.close(), redis.close()]);
      }
    }),
    { seed: SEED, numRuns: RUNS },
  );
});
