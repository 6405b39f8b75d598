// SPDX-License-Identifier: Apache-2.0
// The limit under two processes that want the last of it at the same moment, and under workers that are killed at any moment.
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSlice, PROGRAMS, rounds, within } from './slice.ts';
import type { Slice } from './slice.ts';

const GIB = 2 ** 30;
const LIMIT = 4 * GIB;
const KILLS = rounds(600);
/** From the death of all others to the grant of every byte. */
const WHOLE_WITHIN_US = within(10_000);

let slice: Slice;
beforeAll(() => (slice = createSlice({ limits: { 0: LIMIT } })));
afterAll(() => slice.remove());

/** The numbers of a line `word number… word number…`. */
function numbers(line: string): Record<string, number[]> {
  const found: Record<string, number[]> = {};
  let word = '';
  for (const part of line.trim().split(' ')) {
    if (/^\d+$/.test(part)) found[word]?.push(Number(part));
    else found[(word = part)] = [];
  }
  return found;
}

// Together 21 000 rounds; the slower the driver, the wider the window in which a check that is not the taking would be passed by both.
test.each([
  { latency: '0', races: rounds(11_000) },
  { latency: '0-10', races: rounds(6000) },
  { latency: '0-100', races: rounds(4000) },
])(
  'two processes at the limit, a driver that takes $latency µs: no double grant, nothing refused that fits',
  ({ latency, races }) => {
    const run = slice.run(join(PROGRAMS, 'quota-race'), [String(LIMIT), String(races), String(races)], {
      FAKE_CUDA_LATENCY_US: latency,
      FAKE_CUDA_MEMORY: String(4 * LIMIT),
    });
    expect(run).toMatchObject({ status: 0, stdout: `rounds ${races} double 0 false 0 other 0\n` });
  },
);

test.each([{ seed: 1 }, { seed: 2 }, { seed: 3 }])(
  'kills over three workers, seed $seed: the card never holds more, and all of it comes back at once',
  ({ seed }) => {
    const run = slice.run(join(PROGRAMS, 'kill-storm'), [String(LIMIT), String(KILLS), String(seed)], {
      FAKE_CUDA_HEAP: join(slice.folder, `heap-${seed}`),
      FAKE_CUDA_MEMORY: String(4 * LIMIT),
      FAKE_CUDA_LATENCY_US: '0-20',
    });
    expect(run).toMatchObject({ status: 0, stderr: '' });
    const { kills, above, ops, 'whole-us': whole } = numbers(run.stdout);
    expect({ kills, above }).toEqual({ kills: [KILLS], above: [0] });
    // Workers that are killed before they do anything would prove nothing.
    expect(ops?.[0]).toBeGreaterThanOrEqual(KILLS * 20);
    // The quickest of five endings: the others tell what else the machine was doing.
    expect(Math.min(...(whole ?? []))).toBeLessThanOrEqual(WHOLE_WITHIN_US);
    expect(whole).toHaveLength(5);
  },
);
