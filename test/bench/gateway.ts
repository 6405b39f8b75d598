// SPDX-License-Identifier: Apache-2.0
import { measureAcceptRates } from './accept-rate.ts';
import type { AcceptRate } from './accept-rate.ts';
import type { Report } from './report.ts';
import { withRedis } from './with-redis.ts';

/** What the way in costs: durable accepts against bare node:http that makes the same call of the same script, batched by turn as well. */
export async function benchGateway(report: Report): Promise<void> {
  await withRedis(async (url, folder) => {
    const rates = await measureAcceptRates(url, folder, ['open', 'guarded']);
    noteAcceptRates(report, rates);
    report.ratio('gateway-accepted-vs-bare', rates.get('open')?.ratio ?? 0, '>=', 0.8);
    report.ratio('gateway-guarded-accepted-vs-bare', rates.get('guarded')?.ratio ?? 0, '>=', 0.65);
  });
}

export function noteAcceptRates(report: Report, rates: ReadonlyMap<string, AcceptRate>): void {
  report.note(
    'accepted (202, on disk), 1 KiB of distinct JSON, 64 connections, servers in alternating rounds on one Redis with',
  );
  report.note(
    'appendfsync always. bare = node:http and the same script, one run for all that arrives in a turn, as ours.',
  );
  report.note('open = without keys, on loopback; guarded = API key, rate limit and a JSON Schema of the app.');
  for (const [name, { perSecond, p50, p99, cpuMicros, cpuRatio }] of rates) {
    const cpu = `${cpuMicros.toFixed(0)} µs CPU a request (bare ÷ this: ${cpuRatio.toFixed(2)})`;
    report.note(`${name}: ${perSecond.toFixed(0)}/s, p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, ${cpu}`);
  }
}
