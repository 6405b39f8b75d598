// SPDX-License-Identifier: Apache-2.0
// T2: programs written against the runtime API, end to end: the mini runtime binds as the vendor's does, the fake driver allocates.
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createSlice, PROGRAMS, runFake } from './slice.ts';
import type { Slice } from './slice.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const OOM = 'cudaErrorMemoryAllocation';

let slice: Slice;
beforeEach(() => {
  slice = createSlice({ limits: { 0: GIB } });
});
afterEach(() => slice.remove());

/** Runs the steps; what each step found, in order. */
function steps(program: string, words: readonly string[], env: Readonly<Record<string, string>> = {}): string[] {
  const run = slice.run(join(PROGRAMS, program), words, env);
  expect(run).toMatchObject({ status: 0, signal: null, stderr: '' });
  return run.stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.slice(line.indexOf(' -> ') + 4));
}
const info = (free: number, total = GIB): string => `0 free ${free} total ${total}`;

describe.each(['runtime-steps', 'runtime-steps-ptsz'])('%s', (program) => {
  test('gets all kinds of memory until the quota is used up, then the out-of-memory error, and goes on', () => {
    const found = steps(program, [
      'info',
      `malloc:${600 * MIB}`,
      `managed:${200 * MIB}`,
      `malloc:${300 * MIB}`,
      'last',
      'last',
      `malloc:${224 * MIB}`,
      'malloc:1',
      'info',
      'free:0',
      `malloc:${600 * MIB}`,
      'free:1',
      'free:2',
      'info',
    ]);
    expect(found).toEqual([info(GIB), '0', '0', OOM, OOM, '0', '0', OOM, info(0), '0', '0', '0', '0', info(424 * MIB)]);
  });

  test('pays for rows as the driver pads them, for arrays by their elements and for mipmaps by all levels', () => {
    const found = steps(program, [
      'pitch:1000:1000',
      'info',
      'cube:100:10:10',
      'info',
      'array:1024:512',
      'info',
      'mipmap:4:3',
      'info',
    ]);
    let free = GIB - 1024 * 1000;
    expect(found[0]).toBe('0 pitch 1024');
    expect(found[1]).toBe(info(free));
    expect(found[3]).toBe(info((free -= 512 * 100)));
    expect(found[5]).toBe(info((free -= 1024 * 512 * 4)));
    expect(found[7]).toBe(info((free -= (16 + 4 + 1) * 4)));
  });

  test('pays for what a pool reserves, and gets it back when the pool lets go', () => {
    const found = steps(program, [
      `async:${100 * MIB}`,
      'reserved',
      'info',
      'free:0',
      'info',
      'sync',
      'reserved',
      'info',
      `threshold:${GIB}`,
      `async:${100 * MIB}`,
      'free:1',
      'sync',
      'info',
      'trim:0',
      'info',
    ]);
    const reserved = 128 * MIB;
    expect(found[1]).toBe(`0 reserved ${reserved}`);
    expect(found[2]).toBe(info(GIB - reserved));
    expect(found[4]).toBe(info(GIB - reserved));
    expect(found.slice(6, 8)).toEqual(['0 reserved 0', info(GIB)]);
    expect(found[12]).toBe(info(GIB - reserved));
    expect(found[14]).toBe(info(GIB));
  });

  test('is refused by a pool over the quota, and by a stream of its own too', () => {
    const found = steps(program, [`async:${900 * MIB}`, `stream:${200 * MIB}`, `stream:${32 * MIB}`, `async:${GIB}`]);
    expect(found).toEqual(['0', OOM, '0', OOM]);
  });

  test('reads and writes its memory, and gets everything back by a reset of the device', () => {
    const found = steps(program, [
      `malloc:${700 * MIB}`,
      'copy:0:100000',
      `managed:${100 * MIB}`,
      'copy:1:4096',
      'array:64:64',
      'reset',
      'info',
      `malloc:${GIB}`,
    ]);
    expect(found).toEqual(['0', '0', '0', '0', '0', '0', info(GIB), '0']);
  });

  test('is not charged for memory of the host, nor for nothing', () => {
    const found = steps(program, ['host:10000000', 'malloc:0', 'info', 'free:0']);
    expect(found).toEqual(['0', '0', info(GIB), '0']);
  });

  test('is refused sizes that no sum can hold', () => {
    const found = steps(program, [
      'malloc:0xffffffffffffffff',
      'pitch:0xfffffffffffff000:4096',
      'async:0xffffffffffffff00',
      'info',
    ]);
    expect(found.slice(0, 3)).toEqual([OOM, expect.stringMatching(`^${OOM}`), OOM]);
    expect(found[3]).toBe(info(GIB));
  });

  test('is told the slice as the size of the card', () => {
    expect(steps(program, ['total:0'])).toEqual([`0 total ${GIB}`]);
  });
});

test('without a region nothing is changed: the whole card, its own refusals', () => {
  const open = createSlice({});
  try {
    const words = [
      'total:0',
      `malloc:${12 * GIB}`,
      `malloc:${5 * GIB}`,
      'info',
      'pitch:1000:1000',
      `async:${GIB}`,
      'reserved',
    ];
    const bare = runFake(join(PROGRAMS, 'runtime-steps'), words, {});
    expect(bare.status).toBe(0);
    expect(open.run(join(PROGRAMS, 'runtime-steps'), words)).toEqual(bare);
  } finally {
    open.remove();
  }
});

test('two cards have quotas of their own, by number and by UUID', () => {
  const second = 'GPU-70656e73-746f-636b-2d66-616b652d0001';
  const both = createSlice({ limits: { 0: GIB, [second]: 2 * GIB } });
  try {
    const words = [
      `malloc:${GIB}`,
      'malloc:1',
      'device:1',
      'total:1',
      `malloc:${2 * GIB}`,
      'malloc:1',
      'device:0',
      'free:0',
      `malloc:${GIB}`,
    ];
    const run = both.run(join(PROGRAMS, 'runtime-steps'), words, { FAKE_CUDA_DEVICES: '2' });
    const found = run.stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.slice(line.indexOf(' -> ') + 4));
    expect(found).toEqual(['0', OOM, '0', `0 total ${2 * GIB}`, '0', OOM, '0', '0', '0']);
    // Only the second card is shown: it is ordinal 0 now, and has its UUID's quota.
    const seen = both.run(join(PROGRAMS, 'runtime-steps'), ['total:0'], {
      FAKE_CUDA_DEVICES: '2',
      CUDA_VISIBLE_DEVICES: '1',
    });
    expect(seen.stdout).toBe(`total:0 -> 0 total ${2 * GIB}\n`);
  } finally {
    both.remove();
  }
});
