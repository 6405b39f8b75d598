// SPDX-License-Identifier: Apache-2.0
// `make demo` as a person runs it. One after another: the demo has one folder, demo-out.
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { startChild } from '#test/servers/child.ts';
import type { Child } from '#test/servers/child.ts';
import { until } from '#test/until.ts';
import { processesIn } from './standalone.harness.ts';

const ROOT = join(import.meta.dirname, '../..');
const OUT = join(ROOT, 'demo-out');
const FOLDER = join(ROOT, 'deploy/standalone/demo');

let dir: string;
let child: Child | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'penstock-demo-'));
});

afterEach(async () => {
  await child?.end('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});

const output = (): string => readFileSync(join(dir, 'output'), 'utf8');

async function start(): Promise<Child> {
  // Home and temporary folder of its own: whatever it leaves there is seen.
  const env = { PATH: `${dirname(process.execPath)}:${process.env['PATH']}`, HOME: dir, TMPDIR: dir };
  const args = [join(FOLDER, 'main.ts')];
  child = await startChild({ command: join(ROOT, 'hack/node'), args, env, logFile: join(dir, 'output') });
  return child;
}

/** Nothing but what the demo is meant to leave: no process, no file beside its output. */
function expectTidy(): void {
  expect(processesIn(FOLDER)).toEqual([]);
  expect(readdirSync(dir)).toEqual(['output']);
  expect(readdirSync(FOLDER).toSorted()).toEqual(FILES);
}

const FILES = readdirSync(FOLDER).toSorted();

test('the demo reads every page, fails the one broken file, answers a repeat at once and ends within a minute', async () => {
  const { exited } = await start();
  const code = await exited;
  const text = output();
  expect(text.trimEnd().split('\n').at(-1)).toBe('demo: 9 requests, 8 succeeded, 1 failed as expected');
  expect({ code, text }).toMatchObject({ code: 0 });
  expect(text).toMatch(/^1\. 0 units running/m);
  expect(text).toMatch(/8 queued, 0 running/);
  expect(text).toMatch(/^ {2}\[#{28}\] 9\/9 done, 0 queued, 0 running/m);
  expect(text).toMatch(/^invoice +succeeded +\d+ ms +\d+ ms +INVOICE 2026-0417/m);
  expect(text).toMatch(/^broken scan +failed .*this is no image that can be read/m);
  expect(text).toMatch(/^4\. The same invoice posted again: 200 in [\d.]+ ms, same ticket, 0 units running/m);
  expect(text).toMatch(/P50 \d+ ms, P90 \d+ ms/);
  expect(readdirSync(OUT).toSorted()).toEqual(['pages', 'standalone.log']);
  expect(readdirSync(join(OUT, 'pages'))).toHaveLength(8);
  expectTidy();
}, 60_000);

test.each<[string, string, NodeJS.Signals]>([
  ['Ctrl-C while it starts', '', 'SIGINT'],
  ['Ctrl-C while pages are read', ' running, 1 unit', 'SIGINT'],
  ['SIGTERM while pages are read', ' running, 1 unit', 'SIGTERM'],
])('%s ends the demo with exit code 130 and leaves nothing', async (_name, seen, signal) => {
  rmSync(OUT, { recursive: true, force: true });
  const { pid, exited } = await start();
  await until(() => existsSync(OUT) && output().includes(seen), { what: `"${seen}"`, timeoutMs: 30_000 });
  process.kill(-pid, signal);
  // As a list: what it printed is shown when the code is another one.
  expect([await exited, output()]).toEqual([130, expect.any(String)]);
  expect(existsSync(OUT)).toBe(false);
  expectTidy();
});
