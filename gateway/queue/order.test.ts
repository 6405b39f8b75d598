// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { COST_LIMIT_MICROS, DEADLINE_LIMIT, PRIORITY_LIMIT } from './limits.ts';
import { classOf, gpuTime, orderScore, serviceTime } from './order.ts';

test('a higher priority goes first whatever the deadlines', () => {
  expect(orderScore(1, undefined)).toBeLessThan(orderScore(0, 1));
  expect(orderScore(PRIORITY_LIMIT, DEADLINE_LIMIT)).toBeLessThan(orderScore(PRIORITY_LIMIT - 1, 1));
});

test('at one priority the earlier deadline goes first and none goes last', () => {
  expect(orderScore(0, 5)).toBeLessThan(orderScore(0, 6));
  expect(orderScore(0, DEADLINE_LIMIT - 1)).toBeLessThan(orderScore(0, undefined));
});

test('every score is exact: an integer below 2^53, neighbours differ', () => {
  const least = orderScore(-PRIORITY_LIMIT, undefined);
  expect(Number.isSafeInteger(least)).toBe(true);
  expect(orderScore(-PRIORITY_LIMIT, DEADLINE_LIMIT - 1)).toBe(least - 1);
  expect(orderScore(PRIORITY_LIMIT, 1)).toBe(1);
});

test.each([
  [0, 0],
  [1, 1],
  [3, 1],
  [4, 2],
  [15, 2],
  [16, 3],
  [2 ** 20, 11],
  [2 ** 32 - 1, 16],
  [Number.MAX_SAFE_INTEGER, 16],
])('a body of %d bytes is of size class %d', (bytes, size) => {
  expect(classOf(bytes)).toBe(size);
});

test('service time is whole and bounded; GPU time is its part, rounded down', () => {
  expect([serviceTime(-5), serviceTime(1.9), serviceTime(1e300)]).toEqual([0, 1, COST_LIMIT_MICROS]);
  expect([gpuTime(3, 500_000), gpuTime(3, 2_000_000)]).toEqual([1, 6]);
});
