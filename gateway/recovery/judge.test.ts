// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { judge } from './judge.ts';
import type { Sightings } from './judge.ts';

const FRESH = { found: 'r1' };
const SAME = { mirror: 'r1', found: 'r1' };
const UNSEEN = { mirror: 'r0', found: 'r1' };
/** This process compared the app under the run before, and has seen the restart. */
const LIVED_THROUGH = { mirror: 'r0', seen: 'r0', found: 'r1' };

test.each<[what: string, Sightings, verdict: string]>([
  ['a fresh deployment', { found: 0, runs: FRESH }, 'sound'],
  ['an app that this process meets first, as it was left', { mirror: 9, found: 9, runs: SAME }, 'sound'],
  ['an app that went on since the mirror was written', { mirror: 9, found: 12, runs: SAME }, 'sound'],
  ['an app new since then', { found: 3, runs: SAME }, 'sound'],
  ['a queue below the mirror', { mirror: 9, found: 8, runs: SAME }, 'went-back 9'],
  ['a queue that lost everything', { mirror: 9, found: 0, runs: SAME }, 'went-back 9'],
  ['a queue below what this process has seen', { mirror: 9, seen: 12, found: 11, runs: SAME }, 'went-back 12'],
  ['below what was seen, before anything was mirrored', { seen: 2, found: 1, runs: FRESH }, 'went-back 2'],
  [
    'below the mirror of a replica that is gone',
    { mirror: 12, seen: 3, found: 9, runs: LIVED_THROUGH },
    'went-back 12',
  ],
  ['a restart that nobody saw', { mirror: 9, found: 9, runs: UNSEEN }, 'suspect 9'],
  ['a restart that nobody saw, of an app that was never mirrored', { found: 3, runs: UNSEEN }, 'suspect 0'],
  ['a restart that nobody saw, with a loss', { mirror: 9, found: 5, runs: UNSEEN }, 'went-back 9'],
  ['a restart that this process has seen', { mirror: 9, seen: 9, found: 9, runs: LIVED_THROUGH }, 'sound'],
])('%s', (_what, sightings, expected) => {
  const verdict = judge(sightings);
  expect(verdict.kind === 'sound' ? 'sound' : `${verdict.kind} ${verdict.expected}`).toBe(expected);
});
