// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { PROGRAMS, fakeEnvironment, rounds } from './slice.ts';

const directory = mkdtempSync(join(tmpdir(), 'penstock-map-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** How many entries were there at most, by thread; the program ends with 1 where the map differs from an array. */
function mostOf(mode: string, seed: number): number[] {
  const args = [directory, mode, String(rounds(100_000)), String(seed)];
  const run = spawnSync(join(PROGRAMS, 'map-model'), args, {
    env: fakeEnvironment({}),
    encoding: 'utf8',
    timeout: 100_000,
  });
  expect(run, `${run.stdout}${run.stderr}`).toMatchObject({ status: 0, signal: null });
  return [...run.stdout.matchAll(/^(\d+) at most$/gm)].map(([, most]) => Number(most));
}

test.each([1, 2, 3])('what the map says is what an array says, while it grows and empties: seed %i', (seed) => {
  expect(Math.max(...mostOf('random', seed))).toBeGreaterThan(rounds(1000));
});

test.each([1, 2, 3])('the same where hundreds of keys begin at the same place: seed %i', (seed) => {
  expect(Math.max(...mostOf('crowd', seed))).toBeGreaterThan(64);
});

test('the same for each of four threads at once', () => {
  expect(mostOf('threads', 4)).toHaveLength(4);
});
