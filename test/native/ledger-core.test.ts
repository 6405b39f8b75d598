// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { fakeEnvironment, PROGRAMS, rounds } from './slice.ts';

const RACES = rounds(20_000);
const directory = mkdtempSync(join(tmpdir(), 'penstock-ledger-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** What a program of the core printed; its status is 0 when every one of its own checks held. */
function runs(program: string, ...args: string[]): string {
  const run = spawnSync(join(PROGRAMS, program), [directory, ...args], {
    env: fakeEnvironment({}),
    encoding: 'utf8',
    timeout: 100_000,
  });
  expect(run, `${run.stdout}${run.stderr}`).toMatchObject({ status: 0, signal: null });
  return run.stdout;
}

test('two processes that race for five eighths each: exactly one gets them, each time', () => {
  expect(runs('ledger-race', 'one', String(RACES))).toBe(`${RACES} rounds, 0 wrong, child 0\n`);
});

test('two processes that race for the two halves: both get theirs, each time', () => {
  expect(runs('ledger-race', 'both', String(RACES))).toBe(`${RACES} rounds, 0 wrong, child 0\n`);
});

test('four threads at the limit never hold more than it, and nothing is left over', () => {
  expect(runs('ledger-race', 'threads', String(rounds(200_000)))).toBe('0 above the limit, 0 left, map 0\n');
});

test('children forked at any moment of four busy threads start with nothing and leave nothing', () => {
  expect(runs('ledger-race', 'forks', String(rounds(1000)))).toContain('wrong status 0, all of it granted');
});

test('a process that allocates while another scribbles on the ledger goes on, and never holds more than the limit', () => {
  expect(runs('ledger-race', 'scribble', String(rounds(100_000)))).toContain('never above the limit');
});
