// SPDX-License-Identifier: Apache-2.0
// bench [NAME]: runs one benchmark and prints `ratio <name> <value> goal <op><number>` for each promise. Exit code 1 when one is missed.
import { availableParallelism } from 'node:os';
import { benchE2e } from '#test/bench/e2e.ts';
import { benchGateway } from '#test/bench/gateway.ts';
import { benchNative } from '#test/bench/native.ts';
import { benchQueue } from '#test/bench/queue.ts';
import { createReport } from '#test/bench/report.ts';
import type { Report } from '#test/bench/report.ts';
import { benchSkeleton } from '#test/bench/skeleton.ts';
import { benchWebhook } from '#test/bench/webhook.ts';

const benches: Readonly<Record<string, (report: Report) => Promise<void>>> = {
  skeleton: benchSkeleton,
  queue: benchQueue,
  gateway: benchGateway,
  e2e: benchE2e,
  native: benchNative,
  webhook: benchWebhook,
};

const name = process.argv[2] ?? 'skeleton';
const bench = benches[name];
if (bench === undefined) {
  console.error(`bench: no benchmark ${JSON.stringify(name)}; known: ${Object.keys(benches).join(', ')}`);
  process.exitCode = 2;
} else {
  // The servers it starts do not keep the process alive while it waits for one of them to end.
  const alive = setInterval(() => {}, 60_000);
  const report = createReport((line) => console.log(line));
  report.note(`bench ${name} on ${availableParallelism()} cores, Node ${process.version}`);
  try {
    await bench(report);
  } finally {
    clearInterval(alive);
  }
  const missed = report.missed();
  if (missed.length > 0) console.error(`bench: goal missed: ${missed.join(', ')}`);
  process.exitCode = missed.length > 0 ? 1 : 0;
}
