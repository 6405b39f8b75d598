// SPDX-License-Identifier: Apache-2.0
import { measureAcceptRates } from './accept-rate.ts';
import { noteAcceptRates } from './gateway.ts';
import { measureIdleLatency } from './idle-latency.ts';
import { measureCycles } from './queue-cycles.ts';
import type { Report } from './report.ts';
import { withRedis } from './with-redis.ts';

/** What the first issue promises of speed: the floor or the peer runs beside it, on the same machine and the same kind of Redis. */
export async function benchSkeleton(report: Report): Promise<void> {
  await withRedis(async (url) => {
    const { rates, ratios } = await measureCycles(url);
    report.note(
      '64 in flight on both sides; one call completes what is done and gets the next (BullMQ: moveToCompleted with',
    );
    report.note(
      'fetchNext). BullMQ has no batches; ours serves units of 8 slots, which lease and complete up to 8 in a call.',
    );
    report.note(`queue in units of 8: ${rate(rates.ours)}; BullMQ: ${rate(rates.bullmq)}`);
    report.note(`queue one by one, without batches: ${rate(rates.single)}, ${ratios.single.toFixed(2)} of BullMQ`);
    report.note(
      `queue in units of 8 that await complete before they lease: ${rate(rates.apart)}, ${ratios.apart.toFixed(2)} of BullMQ`,
    );
    report.ratio('queue-cycles-vs-bullmq', ratios.ours, '>=', 1.2);
  });
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

function rate(perSecond: number): string {
  return `${Math.round(perSecond)}/s`;
}
