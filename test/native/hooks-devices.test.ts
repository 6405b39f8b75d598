// SPDX-License-Identifier: Apache-2.0
// Several devices in one session: which limit an allocation is charged to.
import { afterEach, describe, expect, test } from 'vitest';
import { createSlice } from './slice.ts';
import type { Slice } from './slice.ts';
import { OK, OUT_OF_MEMORY, steps, told } from './steps.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const POOL = 32 * MIB;
const used = (bytes: number): string => `used ${bytes}`;

let slice: Slice;
const limited = (limits: Record<string, number | null> = { 0: GIB }): Slice => (slice = createSlice({ limits }));
afterEach(() => slice.remove());

describe('several devices', () => {
  const TWO = { FAKE_CUDA_DEVICES: '2' };

  test('have separate limits, by ordinal', () => {
    const list = [
      'alloc:a:1024',
      'info',
      'context:d:1',
      `alloc:b:${2 * GIB}`,
      'info',
      'alloc:e:1',
      'total:0',
      'total:1',
    ];
    const got = steps(limited({ 0: GIB, 1: 2 * GIB }), list, TWO);
    expect(told(got).slice(0, 6)).toEqual([OK, used(1024), OK, OK, used(2 * GIB), OUT_OF_MEMORY]);
    expect(got.slice(6).map(({ values }) => values.total)).toEqual([GIB, 2 * GIB]);
  });

  test('the ordinals are those that the process sees', () => {
    const list = ['alloc:a:1024', 'info', `alloc:b:${GIB}`];
    expect(told(steps(limited({ 0: GIB }), list, { ...TWO, CUDA_VISIBLE_DEVICES: '1' }))).toEqual([
      OK,
      used(1024),
      OUT_OF_MEMORY,
    ]);
  });

  test('a device that the session does not name lends nothing', () => {
    const got = steps(limited({ 0: GIB }), ['context:d:1', 'alloc:a:1', 'total:1'], TWO);
    expect(told(got).slice(0, 2)).toEqual([OK, OUT_OF_MEMORY]);
    expect(got[2]?.values.total).toBe(0);
  });

  test('are meant by UUID in whatever order the process sees them', () => {
    const first = 'GPU-11111111-2222-3333-4444-555555555555';
    const second = 'GPU-66666666-7777-8888-9999-aaaaaaaaaaaa';
    const env = { ...TWO, FAKE_CUDA_UUIDS: `${first},${second}`, CUDA_VISIBLE_DEVICES: '1,0' };
    const got = steps(
      limited({ [first]: GIB, [second]: 2 * GIB }),
      ['total:0', 'total:1', `alloc:a:${2 * GIB}`, 'info'],
      env,
    );
    expect(got.slice(0, 2).map(({ values }) => values.total)).toEqual([2 * GIB, GIB]);
    expect(told(got.slice(2))).toEqual([OK, used(2 * GIB)]);
  });

  test('a pool is charged where it lies, and an allocation of a stream where the stream is', () => {
    const list = [
      'pool:p:1:1',
      'from:a:1000:p',
      'info',
      'context:d:1',
      'info',
      'stream',
      'async:b:5',
      'current:c',
      'async:e:7',
      'info',
      'current:d',
      'info',
    ];
    const expected = [OK, OK, used(0), OK, used(POOL), OK, OK, OK, OK, used(0), OK, used(2 * POOL)];
    expect(told(steps(limited({ 0: GIB, 1: GIB }), list, TWO))).toEqual(expected);
  });

  test('memory of cuMemCreate is charged where it lies, not where the thread is', () => {
    const list = [`create:h:${2 * MIB}:1:1`, 'info', 'context:d:1', 'info'];
    expect(told(steps(limited({ 0: GIB, 1: GIB }), list, TWO))).toEqual([OK, used(0), OK, used(2 * MIB)]);
  });
});
