// SPDX-License-Identifier: Apache-2.0
// Pools near the limit, in two processes and in threads of one: what is cached is neither charged twice for a moment nor lost, and what is freed is told once.
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSlice, PROGRAMS, rounds } from './slice.ts';
import type { Slice } from './slice.ts';

const LIMIT = 256 * 2 ** 20;

let slice: Slice;
beforeAll(() => (slice = createSlice({ limits: { 0: LIMIT } })));
afterAll(() => slice.remove());

test.each(['0', '0-20'])(
  'what always fits beside a pool in use is never refused, with a driver that takes %s µs',
  (latency) => {
    const count = rounds(3000);
    const run = slice.run(join(PROGRAMS, 'pool-race'), [String(LIMIT), String(count)], {
      FAKE_CUDA_HEAP: join(slice.folder, `heap-${latency}`),
      FAKE_CUDA_MEMORY: String(4 * LIMIT),
      FAKE_CUDA_LATENCY_US: latency,
    });
    expect(run).toMatchObject({ status: 0, stderr: '' });
    const told = /^rounds (\d+) recycled (\d+) denied 0 own 0 above 0$/.exec(run.stdout.trim());
    expect(told ?? run.stdout).not.toBe(run.stdout);
    // A neighbour that stood still would prove nothing.
    expect(Number(told?.[2])).toBeGreaterThan(100);
  },
);

test.each([
  ['churn', 'while others allocate at the limit'],
  ['destroy', 'while the pool that they came from is destroyed'],
])('%s: what came from a pool is freed by cuMemFree %s, and what is charged is what the card gave out', (mode) => {
  const count = rounds(400);
  const run = slice.run(join(PROGRAMS, 'pool-free-race'), [mode, String(LIMIT), String(count)], {
    FAKE_CUDA_HEAP: join(slice.folder, `heap-${mode}`),
    FAKE_CUDA_MEMORY: String(4 * LIMIT),
    FAKE_CUDA_LATENCY_US: '0-2',
  });
  expect(run).toMatchObject({ status: 0, stderr: '' });
  const told = new RegExp(`^rounds ${count} granted (\\d+) above 0 more 0 less 0$`).exec(run.stdout.trim());
  expect(told ?? run.stdout).not.toBe(run.stdout);
  expect(Number(told?.[1])).toBeGreaterThanOrEqual(count);
});

test.each([
  ['external', 'cuMemFree_v2', 'alloc 0 free 0 destroy 0 seconds 0 then 0'],
  ['pooled', 'cuMemFree_v2', 'alloc 0 free 0 destroy 0 seconds 0 then 0'],
  ['pool', 'cuMemAllocAsync', 'alloc 2 free 0 destroy 0 seconds 10 then 0'],
])('while a call of another thread does not return (%s, %s): %s', (mode, call, expected) => {
  const file = join(slice.folder, `stall-${mode}`);
  const run = slice.run(join(PROGRAMS, 'pool-stall'), [file, mode], { FAKE_CUDA_STALL: `${call}:${file}` });
  expect(run).toMatchObject({ status: 0, stderr: '', stdout: `${expected}\n` });
});
