// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { PROGRAMS } from './slice.ts';

const directory = mkdtempSync(join(tmpdir(), 'penstock-ledger-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** What a program of the core printed; its status is 0 when every one of its own checks held. */
function runs(program: string, ...args: string[]): string {
  const run = spawnSync(join(PROGRAMS, program), [directory, ...args], { encoding: 'utf8', timeout: 100_000 });
  expect(run, `${run.stdout}${run.stderr}`).toMatchObject({ status: 0, signal: null });
  return run.stdout;
}

test('two processes that race for five eighths each: exactly one gets them, 20 000 times', () => {
  expect(runs('ledger-race', 'one', '20000')).toBe('20000 rounds, 0 wrong, child 0\n');
});

test('two processes that race for the two halves: both get theirs, 20 000 times', () => {
  expect(runs('ledger-race', 'both', '20000')).toBe('20000 rounds, 0 wrong, child 0\n');
});

test('four threads at the limit never hold more than it, and nothing is left over', () => {
  expect(runs('ledger-race', 'threads', '200000')).toBe('0 above the limit, 0 left, map 0\n');
});

test('children forked at any moment of four busy threads start with nothing and leave nothing', () => {
  expect(runs('ledger-race', 'forks', '1000')).toContain('wrong status 0, all of it granted');
});

test('a process that allocates while another scribbles on the ledger goes on, and never holds more than the limit', () => {
  expect(runs('ledger-race', 'scribble', '100000')).toContain('never above the limit');
});

test('a process killed at one instruction after another of the slow path leaves a ledger that grants exactly the rest', () => {
  // Another first instruction each day: in three days every one has been the last.
  const first = 1 + (Math.floor(Date.now() / 86_400_000) % 3);
  const said = runs('ledger-crash', String(first), '3');
  const kills = [...said.matchAll(/(\d+) kills/g)].map((match) => Number(match[1]));
  expect(kills).toHaveLength(2);
  expect(Math.min(...kills)).toBeGreaterThan(100);
});
