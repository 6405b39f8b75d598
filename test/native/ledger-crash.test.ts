// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { PROGRAMS, runFake } from './slice.ts';

const directory = mkdtempSync(join(tmpdir(), 'penstock-ledger-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

test('a process killed at one instruction after another of the slow path leaves a ledger that grants exactly the rest', () => {
  // Another first instruction each day: in three days every one has been the last.
  const first = 1 + (Math.floor(Date.now() / 86_400_000) % 3);
  const run = runFake(join(PROGRAMS, 'ledger-crash'), [directory, String(first), '3'], {});
  expect(run, `${run.stdout}${run.stderr}`).toMatchObject({ status: 0, signal: null });
  const kills = [...run.stdout.matchAll(/(\d+) kills/g)].map((match) => Number(match[1]));
  expect(kills).toHaveLength(2);
  expect(Math.min(...kills)).toBeGreaterThan(100);
});
