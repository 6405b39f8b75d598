// SPDX-License-Identifier: Apache-2.0
// A process of the session that writes whatever it likes on the ledger page: it may starve its session. It makes nobody wait for ever, gets no
// process more than the control page's limit, and the command line goes on showing numbers within that limit.
import { spawn } from 'node:child_process';
import { symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { statusJson, statusText } from '#native/cli/commands/status-text.ts';
import { overviews } from '#native/cli/sessions/overview.ts';
import { createAccount, storeOf } from './cli.ts';
import type { Account } from './cli.ts';
import { createPod } from './pod.ts';
import { BUILT, fakeEnvironment, PROGRAMS, rounds, within } from './slice.ts';
import type { Run } from './slice.ts';

const LIMIT = 2 ** 30;
const CORRUPTIONS = rounds(100_000);
const BATCH = 200;
/** Of the batches, how many are looked at by a process of its own as well: that takes a hundred times as long. */
const SAMPLES = 8;
/** A call waits ten seconds at most for a lock that somebody seems to hold (LEDGER_PATIENCE_MS), and then once more for its turn behind such a call. */
const WORST_MS = within(25_000);

let account: Account;
beforeEach(() => {
  account = createAccount();
  const made = account.vram(['allocate', 'team', '--limit', String(LIMIT)]);
  if (made.status !== 0) throw new Error(made.stderr);
});
afterEach(() => account.remove());

interface Shown {
  readonly devices: readonly { readonly usedBytes: number; readonly freeBytes: number; readonly leasedBytes: number }[];
  readonly processes: readonly { readonly usedBytes: Readonly<Record<string, number>> }[];
}

function check(json: string): void {
  const [{ devices, processes }] = JSON.parse(json) as [Shown];
  for (const device of devices)
    for (const bytes of [device.usedBytes, device.freeBytes, device.leasedBytes]) {
      expect(bytes).toBeGreaterThanOrEqual(0);
      expect(bytes).toBeLessThanOrEqual(LIMIT);
    }
  for (const { usedBytes } of processes)
    for (const bytes of Object.values(usedBytes)) expect(bytes).toBeLessThanOrEqual(LIMIT);
}

function lookInside(): void {
  const found = overviews(storeOf(account));
  check(JSON.stringify(found.map(statusJson)));
  for (const overview of found) expect(statusText(overview, Date.now())).toMatch(/^session team: active/);
}

function lookOutside(): void {
  const json = account.vram(['status', '--json']);
  expect(json).toMatchObject({ status: 0, stderr: '' });
  check(json.stdout);
  expect(account.vram(['status'])).toMatchObject({ status: 0, stderr: '' });
  const metrics = account.vram(['metrics']);
  expect(metrics).toMatchObject({ status: 0, stderr: '' });
  expect(metrics.stdout).not.toMatch(/NaN|-\d/);
}

/** `ops`, what was granted of each kind, `over`, `worst-ms` and `crashed`. */
type Outcome = Readonly<Record<string, number>>;

/** Starts the workers and the scribbler; `batch` makes some corruptions, `end` stops them all. */
function startHostile(
  seed: number,
  ledger: string,
  given: Readonly<Record<string, string>>,
): { batch(count: number): Promise<void>; end(): Promise<Outcome> } {
  const env = fakeEnvironment({ ...given, FAKE_CUDA_MEMORY: String(64 * LIMIT) });
  const args = [ledger, String(LIMIT), String(seed)];
  const child = spawn(join(PROGRAMS, 'hostile-ledger'), args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => String((await lines.next()).value);
  return {
    batch: async (count) => {
      child.stdin.write(`${count}\n`);
      expect(await next()).toBe('scribbled');
    },
    end: async () => {
      child.stdin.end();
      return Object.fromEntries(
        [...(await next()).matchAll(/([\w-]+) (\d+)/g)].map(([, word = '', count]) => [word, Number(count)]),
      );
    },
  };
}

test(
  'corruptions by the hundred thousand: no hang, no crash, nobody above the limit',
  { timeout: 240_000 },
  async () => {
    const dir = join(account.stateDir, 'sessions/team');
    const object = join(dir, 'object.so');
    symlinkSync(join(BUILT, 'lib/libpenstock_vram.so'), object);
    const hostile = startHostile(7, join(dir, 'ledger'), { LD_PRELOAD: object });
    const batches = CORRUPTIONS / BATCH;
    for (let i = 1; i <= batches; i += 1) {
      await hostile.batch(BATCH);
      lookInside();
      if (i % (batches / SAMPLES) === 0) lookOutside();
    }
    const outcome = await hostile.end();
    expect(outcome).toMatchObject({ over: 0, crashed: 0 });
    expect(outcome['worst-ms']).toBeLessThan(WORST_MS);
    // Workers that were starved all the time would prove nothing.
    for (const kind of ['linear', 'pooled', 'physical']) expect(outcome[kind]).toBeGreaterThan(rounds(10_000));
  },
);

test(
  'likewise on a region made from a quota, where it says which cards the entries stand for',
  { timeout: 120_000 },
  async () => {
    const pod = createPod(String(LIMIT));
    const use = (bytes: number): Run =>
      pod.run(join(PROGRAMS, 'vram-use'), [String(bytes)], { FAKE_CUDA_MEMORY: String(64 * LIMIT) });
    try {
      expect(use(1)).toMatchObject({ status: 0, stderr: '' });
      const hostile = startHostile(11, join(pod.region, 'ledger'), pod.env);
      const batches = CORRUPTIONS / BATCH / 5;
      for (let i = 1; i <= batches; i += 1) {
        await hostile.batch(BATCH);
        // One that comes now has to find its card among what stands there: it is granted or denied.
        const fresh = use(i % 2 ? LIMIT + 1 : 1024);
        expect(fresh.status).toBeOneOf(i % 2 ? [1] : [0, 1]);
        expect(fresh.signal).toBeNull();
        const [, free = '0', total = '0'] = /^(\d+) of (\d+) bytes free$/m.exec(fresh.stdout) ?? [];
        expect(Number(free)).toBeLessThanOrEqual(Number(total));
        expect(Number(total)).toBeLessThanOrEqual(LIMIT);
      }
      const outcome = await hostile.end();
      expect(outcome).toMatchObject({ over: 0, crashed: 0 });
      expect(outcome['worst-ms']).toBeLessThan(WORST_MS);
      for (const kind of ['linear', 'pooled', 'physical']) expect(outcome[kind]).toBeGreaterThan(rounds(1000));
    } finally {
      pod.remove();
    }
  },
);
