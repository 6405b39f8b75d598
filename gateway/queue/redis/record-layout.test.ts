// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { AT, behindFixed, readFixed } from './record-layout.ts';

const HEX =
  // Length, number, score; lane, tenant, revision; deadline, budgets, retention, creation.
  '003d 000000000007 1f43ffffffffff 01 06 c3a974c3a96b 02 7231 00000000002a 0003 0005 0001f40000 018f00000000' +
  // Key of the body, digest, cost, size class; then what is not a field.
  '0000 04 01020304 000000000009 10 ffff';
const RECORD = Buffer.from(HEX.replaceAll(' ', ''), 'hex');

test('fields are read where they stand, numbers up to 53 bits exactly, and what comes behind them is left', () => {
  const { numbers, texts, rest } = readFixed(RECORD);
  expect(numbers[AT.SEQ]).toBe(7);
  expect(numbers[AT.SCORE]).toBe(0x1f43ffffffffff);
  expect([texts[AT.TENANT], texts[AT.REV], texts[AT.BODY_KEY]]).toEqual(['éték', 'r1', '']);
  expect([numbers[AT.DEADLINE], numbers[AT.MAX_ATTEMPTS], numbers[AT.MAX_LOSSES]]).toEqual([42, 3, 5]);
  expect([numbers[AT.RETENTION], numbers[AT.CREATED]]).toEqual([0x1f40000, 0x18f00000000]);
  expect([numbers[AT.COST], numbers[AT.CLASS], numbers[AT.STATE]]).toEqual([9, 16, 0]);
  expect(rest.toString('hex')).toBe('ffff');
  expect(behindFixed(RECORD)).toEqual(rest);
});

test('a record that is cut short is refused wherever the cut is', () => {
  for (let length = 0; length < RECORD.length - 2; length++)
    expect(() => readFixed(RECORD.subarray(0, length))).toThrow(RangeError);
});
