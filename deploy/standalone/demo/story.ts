// SPDX-License-Identifier: Apache-2.0
import { setTimeout as delay } from 'node:timers/promises';
import type { Standalone } from '../standalone.ts';
import { createDemoClient } from './client.ts';
import type { DemoClient, Outcome, Sent, Timing } from './client.ts';
import type { Page } from './pages.ts';
import type { Screen } from './screen.ts';

const APP = 'ocr';
/** How often the moving line is drawn anew. */
const FRAME_MS = 150;
/** The unit leaves by itself within its linger; longer than this is a fault. */
const LEAVE_LIMIT_MS = 20_000;

interface Finished extends Sent, Outcome, Timing {}

/**
 * Plays the demo and answers its exit code: 0 only when everything came out as it must.
 * @throws the reason of `stop` at the next step once that is aborted
 */
export async function showDemo(
  standalone: Standalone,
  pages: readonly Page[],
  screen: Screen,
  stop: AbortSignal,
): Promise<number> {
  const client = createDemoClient(standalone.url, APP);
  const broken: Page = { name: 'broken scan', png: Buffer.from('PNG? no.'), expect: [] };
  const units = (): string => count(standalone.unitCount(), 'unit');
  screen.line(`1. ${units()} running. Posting ${pages.length} pages and one file that is no picture`);
  const sent = await sendAll(standalone, client, [...pages, broken], screen, stop);
  stop.throwIfAborted();
  screen.line('2. The first request starts a unit from zero; it takes what it can');
  const finished = await collect(standalone, client, sent, screen);
  screen.line('3. The queue is dry: the unit leaves by itself');
  const left = await unitsLeave(standalone);
  screen.line(`   ${units()} running`);
  const again = await repeat(client, finished[0], screen, units);
  report(finished, screen);
  return verdict(finished, again && left, screen);
}

async function sendAll(
  standalone: Standalone,
  client: DemoClient,
  pages: readonly Page[],
  screen: Screen,
  stop: AbortSignal,
): Promise<readonly Sent[]> {
  const sent: Sent[] = [];
  for (const page of pages) {
    stop.throwIfAborted();
    const { status, ticket } = await client.send(page);
    sent.push({ page, ticket });
    const { queued, leased } = await standalone.depth(APP);
    screen.line(`   ${status} ${ticket}  ${page.name.padEnd(12)} ${queued} queued, ${leased} running`);
  }
  return sent;
}

async function collect(
  standalone: Standalone,
  client: DemoClient,
  sent: readonly Sent[],
  screen: Screen,
): Promise<readonly Finished[]> {
  let done = 0;
  const all = Promise.all(
    sent.map(async (request): Promise<Finished> => {
      const outcome = await client.result(request.ticket);
      done++;
      return { ...request, ...outcome, ...(await client.timing(request.ticket)) };
    }),
  );
  const state = { ended: false };
  const finish = all.finally(() => {
    state.ended = true;
  });
  // An interrupt closes the queue under the loop below; the waits then fail when nobody awaits them any more.
  finish.catch(() => undefined);
  while (!state.ended) {
    const { queued, leased } = await standalone.depth(APP);
    screen.progress({ done, total: sent.length, queued, leased, units: standalone.unitCount() });
    await Promise.race([finish, delay(FRAME_MS)]);
  }
  screen.progress({ done, total: sent.length, queued: 0, leased: 0, units: standalone.unitCount() });
  return await finish;
}

/** The same page once more: the finished request answers, no unit is asked. */
async function repeat(
  client: DemoClient,
  first: Finished | undefined,
  screen: Screen,
  units: () => string,
): Promise<boolean> {
  if (first === undefined) return false;
  const began = performance.now();
  const { status, ticket } = await client.send(first.page);
  const took = (performance.now() - began).toFixed(1);
  const same = ticket === first.ticket;
  screen.line(
    `4. The same ${first.page.name} posted again: ${status} in ${took} ms, ${same ? 'same' : 'another'} ticket, ${units()} running`,
  );
  return status === 200 && same;
}

async function unitsLeave(standalone: Standalone): Promise<boolean> {
  const until = performance.now() + LEAVE_LIMIT_MS;
  while (standalone.unitCount() > 0 && performance.now() < until) await delay(FRAME_MS);
  return standalone.unitCount() === 0;
}

function report(finished: readonly Finished[], screen: Screen): void {
  screen.line('');
  screen.table(
    ['request', 'state', 'wait', 'service', 'text'],
    finished.map(({ page, state, waitMs, serviceMs, text }) => [
      page.name,
      state,
      `${waitMs} ms`,
      `${serviceMs} ms`,
      excerpt(text),
    ]),
  );
  const totals = finished.map(({ waitMs, serviceMs }) => waitMs + serviceMs).toSorted((a, b) => a - b);
  screen.line(`\nfrom post to result: P50 ${quantile(totals, 0.5)} ms, P90 ${quantile(totals, 0.9)} ms`);
}

function verdict(finished: readonly Finished[], rest: boolean, screen: Screen): number {
  const isExpected = ({ page, state, text }: Finished): boolean =>
    page.expect.length === 0 ? state === 'failed' : page.expect.every((word) => text.includes(word));
  const succeeded = finished.filter(({ state }) => state === 'succeeded').length;
  const failed = finished.filter(({ page, state }) => page.expect.length === 0 && state === 'failed').length;
  const wrong = finished.filter((request) => !isExpected(request));
  for (const { page, state, text } of wrong) screen.line(`unexpected: ${page.name} is ${state}: ${excerpt(text)}`);
  if (!rest) screen.line('unexpected: the repeat was not answered from the first result, or a unit did not leave');
  screen.line(`demo: ${finished.length} requests, ${succeeded} succeeded, ${failed} failed as expected`);
  return wrong.length === 0 && rest ? 0 : 1;
}

function excerpt(text: string): string {
  const flat = text.replaceAll(/\s+/g, ' ').trim();
  return flat.length > 60 ? `${flat.slice(0, 57)}...` : flat;
}

function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.ceil(q * sorted.length) - 1)] ?? 0;
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}
