// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { MAX_CONDITION_MESSAGE, findCondition, mergeConditions, setCondition } from './conditions.ts';
import type { Condition } from './types.ts';

const then = '2026-01-01T00:00:00Z';
const now = Date.UTC(2026, 5, 1, 12, 30, 15, 999);
const ready: Condition = { type: 'Ready', status: 'True', reason: 'Serving', message: 'ok', lastTransitionTime: then };
const other: Condition = { ...ready, type: 'Other' };

test.for([
  ['a new reason keeps the time', { status: 'True', reason: 'Idle', message: 'ok' }, then],
  ['a new message keeps the time', { status: 'True', reason: 'Serving', message: 'still ok' }, then],
  [
    'a new generation keeps the time',
    { status: 'True', reason: 'Serving', message: 'ok', observedGeneration: 7 },
    then,
  ],
  [
    'a new status moves the time, in whole seconds',
    { status: 'False', reason: 'Held', message: 'no' },
    '2026-06-01T12:30:15Z',
  ],
  ['an unknown status is a status', { status: 'Unknown', reason: 'Unknown', message: '' }, '2026-06-01T12:30:15Z'],
] as const)('%s', ([, change, want]) => {
  const made = setCondition([other, ready], { type: 'Ready', ...change }, now);
  expect(made).toEqual([other, { type: 'Ready', ...change, lastTransitionTime: want }]);
});

test('a new condition goes to the end and the given list stays as it is', () => {
  const given = Object.freeze([Object.freeze({ ...other })]);
  const made = setCondition(given, { type: 'Ready', status: 'True', reason: 'Serving', message: 'ok' }, now);
  expect(made.map(({ type }) => type)).toEqual(['Other', 'Ready']);
  expect(given).toHaveLength(1);
});

test('no list yet is an empty list', () => {
  const made = setCondition(undefined, { type: 'Ready', status: 'True', reason: 'Serving', message: 'ok' }, now);
  expect(findCondition(made, 'Ready')?.lastTransitionTime).toBe('2026-06-01T12:30:15Z');
  expect(findCondition(made, 'Missing')).toBeUndefined();
});

test('a long message is cut within the limit and stays well-formed', () => {
  const message = 'x'.repeat(MAX_CONDITION_MESSAGE - 2) + '😀'.repeat(10);
  const [made] = setCondition<Condition>([], { type: 'Ready', status: 'False', reason: 'Held', message }, now);
  expect(made?.message).toHaveLength(MAX_CONDITION_MESSAGE);
  expect(made?.message.isWellFormed()).toBe(true);
  expect(made?.message.endsWith('…')).toBe(true);
});

test('merging the same conditions again changes nothing', () => {
  const inputs = [
    { type: 'A', status: 'True', reason: 'Yes', message: '' },
    { type: 'B', status: 'False', reason: 'No', message: '', observedGeneration: 2 },
  ] as const;
  const once = mergeConditions<Condition>(undefined, inputs, now);
  expect(mergeConditions(once, inputs, now + 3_600_000)).toEqual(once);
});
