// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { DEADLINE_LIMIT, PRIORITY_LIMIT } from './limits.ts';
import { orderScore } from './order.ts';

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
