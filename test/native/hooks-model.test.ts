// SPDX-License-Identifier: Apache-2.0
// Random calls of every family against an oracle that knows nothing of the hooks: the fake card's own account of what it gave out.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createSlice, PROGRAMS, rounds } from './slice.ts';
import type { Slice } from './slice.ts';

const GIB = 2 ** 30;
/** Each fails once, at that call, with an error that is not the quota's. */
const FAILURES = [
  'cuMemAlloc_v2:9:999',
  'cuMemAllocManaged:4:999',
  'cuMemAllocPitch_v2:3:999',
  'cuMemFree_v2:7:999',
  'cuMemAllocAsync:5:999',
  'cuMemFreeAsync:6:999',
  'cuMemCreate:4:999',
  'cuMemRelease:5:999',
  'cuMemMap:3:999',
  'cuMemUnmap:2:999',
  'cuArray3DCreate_v2:3:999',
  'cuArrayDestroy:4:999',
  'cuMemPoolDestroy:2:999',
  'cuCtxDestroy_v2:2:999',
  'cuMemRetainAllocationHandle:2:999',
].join(',');

let slice: Slice;
beforeAll(() => (slice = createSlice({ limits: { 0: GIB } })));
afterAll(() => slice.remove());

interface Plan {
  readonly sequences: number;
  readonly steps: number;
  readonly seed: number;
  readonly threads: number;
  readonly env?: Readonly<Record<string, string>>;
}

function model({ sequences, steps, seed, threads, env = {} }: Plan): Record<string, number> {
  const heap = join(slice.folder, `heap-${threads}-${seed}`);
  const args = [GIB, sequences, steps, seed, threads].map(String);
  const run = slice.run(join(PROGRAMS, 'hook-model'), args, {
    FAKE_CUDA_HEAP: heap,
    FAKE_CUDA_MEMORY: String(4 * GIB),
    ...env,
  });
  expect(run).toMatchObject({ status: 0, stderr: '' });
  const words = run.stdout.trim().split(' ');
  return Object.fromEntries(words.flatMap((word, i) => (i % 2 === 0 ? [[word, Number(words[i + 1])]] : [])));
}

describe('what is charged is what the card gave out, to the byte, it is never above the limit, and nothing is refused that fits', () => {
  test.each([{ seed: 1 }, { seed: 2 }, { seed: 3 }])('4 000 sequences of 25 steps, seed $seed', ({ seed }) => {
    const sequences = rounds(4000);
    const told = model({ sequences, steps: 25, seed, threads: 1 });
    expect(told).toMatchObject({ operations: sequences * 25, wrong: 0, above: 0, false: 0 });
    // Sequences that never reach the limit would prove little.
    expect(told.refused).toBeGreaterThan(sequences * 2);
  });

  test('with calls of the driver that fail', () => {
    const told = model({ sequences: rounds(300), steps: 40, seed: 4, threads: 1, env: { FAKE_CUDA_FAIL: FAILURES } });
    expect(told).toMatchObject({ wrong: 0, above: 0, false: 0 });
  });

  test.each([{ seed: 5 }, { seed: 6 }])('four threads at once, seed $seed', ({ seed }) => {
    const sequences = rounds(20);
    const told = model({ sequences, steps: 150, seed, threads: 4, env: { FAKE_CUDA_LATENCY_US: '0-2' } });
    expect(told).toMatchObject({ operations: sequences * 150 * 4, wrong: 0, above: 0 });
    expect(told.refused).toBeGreaterThan(sequences * 50);
  });
});
