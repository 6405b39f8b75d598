// SPDX-License-Identifier: Apache-2.0
import { measureCompletions } from './completions.ts';
import type { Completions } from './completions.ts';
import { measureHandOff } from './hand-off.ts';
import { measureIdleCalls } from './idle-calls.ts';
import type { Report } from './report.ts';
import { withRedis } from './with-redis.ts';

/** The whole way: client → gateway → worker with a handler that does nothing → result at the client; and what waiting costs. */
export async function benchE2e(report: Report): Promise<void> {
  await withRedis(async (url, folder, pid) => {
    const { fetch, wait } = await measureCompletions({ url, pid }, folder);
    report.note(
      '1 KiB of distinct JSON, 256 clients, one gateway, one worker of 256 slots in batches of 64, Redis with',
    );
    report.note('appendfsync always, the load generator on the same cores.');
    noteCompletions(report, '202, then a long poll of the status', fetch);
    noteCompletions(report, 'Prefer: wait on the POST', wait);
    report.ratio('e2e-completions-per-second', fetch.perSecond, '>=', 3000);
    report.ratio('e2e-wait-completions-per-second', wait.perSecond, '>=', 5000);
  });
  await withRedis(async (url, folder) => {
    const { p50, p99, samples } = await measureHandOff(url, folder);
    report.note(`idle, POST sent to handler called: p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms of ${samples}`);
    report.ratio('e2e-idle-hand-off-p99-ms', p99, '<=', 25);
  });
  await withRedis(async (url, folder) => {
    const { units, perUnit, commandsPerUnit } = await measureIdleCalls(url, folder);
    report.note(
      `idle, ${units} waiting units: with the commands inside scripts ${commandsPerUnit.toFixed(2)} a second and unit`,
    );
    report.ratio('e2e-idle-redis-calls-per-second-and-unit', perUnit, '<=', 0.3);
  });
}

function noteCompletions(report: Report, how: string, { perSecond, p50, p99, cpuMicros }: Completions): void {
  const cpu = Object.entries(cpuMicros).map(([name, micros]) => `${name} ${micros.toFixed(0)}`);
  report.note(`${how}: ${perSecond.toFixed(0)}/s, p50 ${p50.toFixed(0)} ms, p99 ${p99.toFixed(0)} ms`);
  report.note(`  µs CPU a completion: ${cpu.join(', ')}`);
}
