// SPDX-License-Identifier: Apache-2.0
// The hooks where something is scarce or missing: descriptors, rows of a table, a kernel that wipes memory at fork.
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { createSlice, PROGRAMS } from './slice.ts';
import type { Slice } from './slice.ts';
import { OK, OUT_OF_MEMORY, steps, told } from './steps.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const POOL = 32 * MIB;
const used = (bytes: number): string => `used ${bytes}`;

let slice: Slice;
const limited = (): Slice => (slice = createSlice({ limits: { 0: GIB } }));
afterEach(() => slice.remove());

test('a process that was short of descriptors is denied then, and granted later', () => {
  const list = ['descriptors:0', 'alloc:a:1', 'descriptors:1', 'alloc:b:1024', 'info'];
  expect(told(steps(limited(), list))).toEqual([OK, OUT_OF_MEMORY, OK, OK, used(1024)]);
});

test('a program may have hundreds of pools', () => {
  const got = steps(limited(), ['pools:300', 'info'], { FAKE_CUDA_POOL_GRAIN: String(2 * MIB) });
  expect(told(got)).toEqual([OK, used(600 * MIB)]);
});

test('where the kernel does not wipe memory at fork, a child gets the driver’s answers and its parent’s account stays', () => {
  const list = ['context:c:0', 'pool:p', 'from:a:1000:p', 'fork', 'async:b:1000', 'async-free:a', 'pool-end:p', 'info'];
  const args = ['wipe', join(PROGRAMS, 'driver-steps'), 'dlopen:libcuda.so.1', 'init', ...list];
  const { status, stdout } = limited().run(join(PROGRAMS, 'confined'), args);
  expect(status).toBe(0);
  const [child = '', parent = ''] = stdout.split('parent fork 0');
  expect(
    child
      .split('\n')
      .slice(-5, -1)
      .map((line) => line.split(' = ')[1]),
  ).toEqual(['3', '3', '3', '3']);
  expect(parent).toContain(`used ${POOL} = 0`);
});
