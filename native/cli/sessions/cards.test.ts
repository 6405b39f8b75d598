// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { cardsOf, visibleCards } from './cards.ts';
import { overcommitText, overcommits } from './overcommit.ts';

const GIB = 2 ** 30;
const cards = [0, 1, 2].map((index) => ({
  index,
  uuid: `GPU-0000000${index}-0000-0000-0000-000000000000`,
  name: 'Test',
  memoryBytes: 8 * GIB,
}));
const indexes = (found: typeof cards): number[] => found.map(({ index }) => index);

test.each([
  [undefined, [0, 1, 2]],
  ['', []],
  ['2,0', [2, 0]],
  ['GPU-00000001', [1]],
  ['1,9,0', [1]],
  ['-1', []],
])('CUDA_VISIBLE_DEVICES=%s shows %j', (value, seen) => {
  expect(indexes(visibleCards(cards, value === undefined ? {} : { CUDA_VISIBLE_DEVICES: value }))).toEqual(seen);
});

test('an ordinal counts the visible cards, a UUID means a card wherever it stands', () => {
  const env = { CUDA_VISIBLE_DEVICES: '2,1' };
  expect(indexes(cardsOf({ device: '0', limit: 1 }, cards, env))).toEqual([2]);
  expect(indexes(cardsOf({ device: '2', limit: 1 }, cards, env))).toEqual([]);
  expect(indexes(cardsOf({ device: cards[0]!.uuid, limit: 1 }, cards, env))).toEqual([0]);
  expect(indexes(cardsOf({ device: '*', limit: 1 }, cards, env))).toEqual([2, 1]);
});

const session = (name: string, gib: number | null, on: readonly number[]) => ({
  session: name,
  limits: [{ device: '*', limit: gib === null ? null : gib * GIB, cards: on.map((index) => cards[index]!.uuid) }],
});

test('limits fit a card up to its last byte, card by card', () => {
  expect(overcommits(cards, [session('a', 5, [0, 1]), session('b', 3, [0])])).toEqual([]);
  const [found, ...others] = overcommits(cards, [session('a', 5, [0, 1]), session('b', 4, [0])]);
  expect(others).toEqual([]);
  expect(found).toMatchObject({ promisedBytes: 9 * GIB, sessions: ['a', 'b'] });
  expect(overcommitText(found!)).toBe('GPU 0 (Test) has 8GiB, and a, b would be promised 9GiB');
});

test('a session without limit is promised the whole card', () => {
  expect(overcommits(cards, [session('a', null, [0])])).toEqual([]);
  expect(overcommits(cards, [session('a', null, [0]), session('b', 1, [0])])).toHaveLength(1);
});

test('limits on cards that nobody could tell are not added up', () => {
  expect(overcommits(cards, [{ session: 'a', limits: [{ device: '0', limit: 99 * GIB }] }])).toEqual([]);
});
