// SPDX-License-Identifier: Apache-2.0
// The limit under two processes that want the last of it at the same moment, and under workers that are killed at any moment.
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSlice, PROGRAMS, rounds, within } from './slice.ts';
import type { Slice } from './slice.ts';

const GIB = 2 ** 30;
const LIMIT = 4 * GIB;
const KILLS = rounds(600);
/** From the death of all others to the grant of every byte, without the time in which the machine had no core for whoever asks. */
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

const RACES = rounds(20_000);

// The slower the driver, the wider the window in which a check that is not the taking would be passed by both.
test.each([{ latency: '0' }, { latency: '0-10' }, { latency: '0-100' }])(
  'two processes at the limit, 20 000 rounds with a driver that takes $latency µs: no double grant, nothing refused that fits',
  ({ latency }) => {
    const run = slice.run(join(PROGRAMS, 'quota-race'), [String(LIMIT), String(RACES), latency.replace('-', '')], {
      FAKE_CUDA_LATENCY_US: latency,
      FAKE_CUDA_MEMORY: String(4 * LIMIT),
    });
    expect(run).toMatchObject({ status: 0, stdout: `rounds ${RACES} double 0 false 0 other 0\n` });
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
    const { kills, above, ops, 'whole-us': whole = [], 'waited-us': waited = [] } = numbers(run.stdout);
    expect({ kills, above }).toEqual({ kills: [KILLS], above: [0] });
    // Workers that are killed before they do anything would prove nothing.
    expect(ops?.[0]).toBeGreaterThanOrEqual(KILLS * 20);
    expect(whole).toHaveLength(5);
    expect(waited).toHaveLength(5);
    for (const [ending, took] of whole.entries())
      expect(took - (waited[ending] ?? 0)).toBeLessThanOrEqual(WHOLE_WITHIN_US);
  },
);
