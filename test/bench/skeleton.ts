// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { measureAcceptRates } from './accept-rate.ts';
import { noteAcceptRates } from './gateway.ts';
import { measureIdleLatency } from './idle-latency.ts';
import { openBullMq, ours } from './queue-contenders.ts';
import { race, ratio, shown } from './race.ts';
import type { Report } from './report.ts';
import { withRedis } from './with-redis.ts';

/** Items in flight at any time, the same for both. Ours are held by units, each with as many slots as one GPU worker may have. */
const IN_FLIGHT = 64;
const SLOTS_PER_UNIT = 8;
const CYCLES = { cycles: 2_000, limitMs: 12_000 } as const;

/** What the first issue promises of speed: the floor or the peer runs beside it, on the same machine and the same kind of Redis. */
export async function benchSkeleton(report: Report): Promise<void> {
  await withRedis((url) => cycles(report, url));
  await withRedis(async (url, folder) => {
    const rates = await measureAcceptRates(url, folder, ['guarded']);
    noteAcceptRates(report, rates);
    report.ratio('accepted-vs-bare-http', rates.get('guarded')?.ratio ?? 0, '>=', 0.6);
  });
  await withRedis(async (url, folder) => {
    const { p50, p90, samples } = await measureIdleLatency(url, folder);
    report.note(`submit to result, idle: p50 ${p50.toFixed(2)} ms, p90 ${p90.toFixed(2)} ms of ${samples}`);
    report.ratio('submit-to-result-p50-ms', p50, '<=', 10);
  });
}

async function cycles(report: Report, url: string): Promise<void> {
  const queue = await openRedisQueue({ url, clock: systemClock, logger: silentLogger });
  const bullmq = await openBullMq(url, IN_FLIGHT);
  const side = (app: string, perCall: number, how: 'together' | 'apart') =>
    ours(queue, { app, perCall, how, tenants: 1, inFlight: IN_FLIGHT });
  try {
    // The peer in the middle, so that no side has the better moment.
    const rates = await race(
      {
        single: side('single', 1, 'together'),
        ours: side('ours', SLOTS_PER_UNIT, 'together'),
        bullmq: bullmq.together,
        apart: side('apart', SLOTS_PER_UNIT, 'apart'),
      },
      CYCLES,
    );
    const against = (name: keyof typeof rates): string => ratio(rates, name, 'bullmq').toFixed(2);
    report.note(
      '64 in flight on both sides; one call completes what is done and gets the next (BullMQ: moveToCompleted with',
    );
    report.note(
      'fetchNext). BullMQ has no batches; ours serves units of 8 slots, which lease and complete up to 8 in a call.',
    );
    report.note(`queue in units of 8: ${shown(rates, 'ours')}; BullMQ: ${shown(rates, 'bullmq')}`);
    report.note(`queue one by one, without batches: ${shown(rates, 'single')}, ${against('single')} of BullMQ`);
    report.note(
      `queue in units of 8 that await complete before they lease: ${shown(rates, 'apart')}, ${against('apart')} of BullMQ`,
    );
    report.ratio('queue-cycles-vs-bullmq', ratio(rates, 'ours', 'bullmq'), '>=', 1.2);
  } finally {
    await Promise.all([queue.close(), bullmq.close()]);
  }
}
