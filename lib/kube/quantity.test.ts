// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { parseQuantity } from './quantity.ts';

describe('quantities', () => {
  test.each([
    ['4', 4],
    ['1k', 1000],
    ['10Gi', 10 * 2 ** 30],
    ['1.5Gi', 1.5 * 2 ** 30],
    ['.5Mi', 2 ** 19],
    ['500m', 0.5],
    ['1e3', 1000],
    ['2E2', 200],
    ['1E', 1e18],
    ['+3', 3],
    ['-1', -1],
    [7, 7],
  ])('%j is %d', (text, want) => {
    expect(parseQuantity(text)).toBe(want);
  });

  test.each([
    '',
    ' 1',
    '1 Gi',
    '10GB',
    '10gi',
    'Gi',
    '1.2.3',
    '1e',
    '1e3Gi',
    '0x10',
    'NaN',
    null,
    undefined,
    {},
    true,
    Infinity,
    '9'.repeat(40),
  ])('%j is none', (text) => {
    expect(parseQuantity(text)).toBeUndefined();
  });
});
