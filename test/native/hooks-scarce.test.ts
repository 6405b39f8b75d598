// SPDX-License-Identifier: Apache-2.0
// The hooks where something is scarce or missing: descriptors, rows of a table, a kernel that wipes memory at fork.
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { createPod } from './pod.ts';
import { createSlice, PROGRAMS } from './slice.ts';
import type { Run, Slice } from './slice.ts';
import { OK, OUT_OF_MEMORY, readSteps, steps, told } from './steps.ts';

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

/** What each step of the way to the first allocation maps is of another size: with some of these, each is the first to fail. */
const ROOM = [0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 256, 1024, 4096].map((pages) => pages * 4096);
const SHORT = /^(penstock-vram: GPU memory is denied: the session cannot be used: [^\n]*\n)?$/;
const ASKED = ['alloc:a:1024', 'pool:p', 'from:b:1:p', 'free:a', 'async-free:b'];

/** The steps at a moment with room for `bytes` of mappings, and then with room for anything. Short before the first call of the driver, or behind the context. */
function short(run: (args: readonly string[]) => Run, bytes: number, early: boolean): (number | string)[] {
  const begin = ['init', 'context:c:0'];
  const memory = [`memory:${bytes}`, ...ASKED, 'memory'];
  // The first call asks for the region, whatever call it is: cuMemFree of nothing.
  const list = early ? [`memory:${bytes}`, 'free-address:0', 'memory', ...begin, ...memory] : [...begin, ...memory];
  const after = ['alloc:x:1024', 'pool:q', 'from:y:1000:q', 'from:z:1000:p'];
  const ran = run(['dlopen:libcuda.so.1', ...list, ...after]);
  expect(ran.stderr).toMatch(SHORT);
  return told(readSteps(ran)).slice(-after.length);
}

describe.each([{ early: true }, { early: false }])('a process that was short of memory, early: $early', ({ early }) => {
  test.each(ROOM)('with room for %i bytes is denied then, and granted later', (bytes) => {
    const got = short((args) => limited().run(join(PROGRAMS, 'driver-steps'), args), bytes, early);
    expect(got).toEqual([OK, OK, OK, OK]);
  });

  // Where the region is there already, the first thing to be made is the card's entry in it.
  test.each(ROOM.flatMap((bytes) => [true, false].map((made) => ({ bytes, made }))))(
    'likewise in a pod: room for $bytes bytes, its region was made before: $made',
    ({ bytes, made }) => {
      const pod = createPod(String(GIB));
      try {
        if (made) pod.run(join(PROGRAMS, 'vram-use'), ['1']);
        const got = short((args) => pod.run(join(PROGRAMS, 'driver-steps'), args), bytes, early);
        expect(got).toEqual([OK, OK, OK, OK]);
      } finally {
        pod.remove();
      }
    },
  );
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
