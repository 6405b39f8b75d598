// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { ProblemError } from '#base/problem.ts';
import { parseIntent } from './intent.ts';

const NOW = Date.parse('2026-03-01T12:00:00Z');
const read = (headers: Record<string, string>, ceiling = 100) => parseIntent(headers, ceiling, NOW);

test('nothing said is priority 0, no deadline and an unknown cost', () => {
  expect(read({})).toEqual({ priority: 0, cost: 0 });
});

test('a ceiling below 0 is what a tenant starts at', () => {
  expect(read({}, -5).priority).toBe(-5);
});

test.each([
  ['100', 100],
  ['+7', 7],
  ['-1000', -1000],
  ['-0', 0],
  [' 3 ', 3],
])('priority %j is %i', (text, priority) => {
  expect(read({ 'penstock-priority': text }).priority).toBe(priority);
  expect(Object.is(read({ 'penstock-priority': text }).priority, -0)).toBe(false);
});

test.each([
  ['2026-03-01T12:00:01Z', NOW + 1000],
  ['2026-03-01t13:00:01.250+01:00', NOW + 1250],
  ['2026-03-01T12:00:00.001z', NOW + 1],
  ['+1', NOW + 1000],
  ['+86400', NOW + 86_400_000],
])('deadline %j is read', (text, deadline) => {
  expect(read({ 'penstock-deadline': text }).deadline).toBe(deadline);
});

test.each([
  ['1', 1_000_000],
  ['0.000001', 1],
  ['2.5', 2_500_000],
  // 8.2 · 10⁶ in doubles is 8199999.999…
  ['8.2', 8_200_000],
  ['36000000', 36_000_000_000_000],
])('cost %j is %i µGPU-s', (text, cost) => {
  expect(read({ 'penstock-cost': text }).cost).toBe(cost);
});

test.each([
  ['Penstock-Priority', '101'],
  ['Penstock-Priority', '1001'],
  ['Penstock-Priority', '-1001'],
  ['Penstock-Priority', '1.5'],
  ['Penstock-Priority', '0x10'],
  ['Penstock-Priority', 'high'],
  ['Penstock-Priority', ''],
  ['Penstock-Priority', '1, 2'],
  ['Penstock-Deadline', '2026-03-01T12:00:00Z'],
  ['Penstock-Deadline', '2026-03-01T11:59:59Z'],
  ['Penstock-Deadline', '2026-03-01T12:00:01'],
  ['Penstock-Deadline', '2027-02-30T00:00:00Z'],
  ['Penstock-Deadline', '2027-13-01T00:00:00Z'],
  ['Penstock-Deadline', '2027-01-01T25:00:00Z'],
  ['Penstock-Deadline', '2110-01-01T00:00:00Z'],
  ['Penstock-Deadline', '+0'],
  ['Penstock-Deadline', '+9999999999'],
  ['Penstock-Deadline', '+1.5'],
  ['Penstock-Deadline', '90'],
  ['Penstock-Deadline', 'tomorrow'],
  ['Penstock-Cost', '0'],
  ['Penstock-Cost', '0.0000001'],
  ['Penstock-Cost', '36000000.000001'],
  ['Penstock-Cost', '-1'],
  ['Penstock-Cost', '1e3'],
  ['Penstock-Cost', 'NaN'],
  ['Penstock-Cost', ''],
])('%s: %s is refused with the header and the fix', (name, value) => {
  let caught: unknown;
  try {
    read({ [name.toLowerCase()]: value });
  } catch (err) {
    caught = err;
  }
  expect(caught).toBeInstanceOf(ProblemError);
  expect(caught).toMatchObject({ status: 400, code: 'bad-header' });
  expect((caught as ProblemError).extensions).toMatchObject({ field: `header:${name}`, fix: expect.any(String) });
});
