// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { limitsOnCards } from './card-limits.ts';
import { cardsOf, parseCards, visibleCards } from './cards.ts';
import type { Card } from './cards.ts';
import { overcommitText, overcommits } from './overcommit.ts';

const GIB = 2 ** 30;
const cards: readonly Card[] = [0, 1, 2].map((index) => ({
  index,
  uuid: `GPU-0000000${index}-0000-0000-0000-000000000000`,
  name: 'Test',
  memoryBytes: 8 * GIB,
  mig: false,
}));
const indexes = (found: readonly Card[]): number[] => found.map(({ index }) => index);

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

test('a number is that of nvidia-smi, a UUID means one card, and a limit without either means all', () => {
  expect(indexes(cardsOf({ device: '2', limit: 1 }, cards))).toEqual([2]);
  expect(indexes(cardsOf({ device: '3', limit: 1 }, cards))).toEqual([]);
  expect(indexes(cardsOf({ device: cards[0]!.uuid, limit: 1 }, cards))).toEqual([0]);
  expect(indexes(cardsOf({ device: '*', limit: 1 }, cards))).toEqual([0, 1, 2]);
});

const uuids = cards.map(({ uuid }) => uuid);

test('a limit holds on all cards, and is counted against those that are seen at the start', () => {
  const { limits, notes } = limitsOnCards([{ device: '*', limit: 1 }], cards, { CUDA_VISIBLE_DEVICES: '2,1' });
  expect(limits).toEqual([{ device: '*', limit: 1, cards: uuids, counted: [uuids[2], uuids[1]] }]);
  expect(notes).toEqual([]);
  expect(limitsOnCards([{ device: '1', limit: 1 }], cards, { CUDA_VISIBLE_DEVICES: '2' }).limits).toEqual([
    { device: '1', limit: 1, cards: [uuids[1]] },
  ]);
});

test('a card that is named twice, by number and by UUID, or is not there, is refused', () => {
  const limits = [
    { device: '1', limit: 1 },
    { device: uuids[1]!, limit: 2 },
  ];
  expect(() => limitsOnCards(limits, cards, {})).toThrow('has two limits');
  expect(() => limitsOnCards([{ device: '3', limit: 1 }], cards, {})).toThrow('no GPU 3');
  const many = Array.from({ length: 17 }, (_, index) => ({ ...cards[0]!, index, uuid: `GPU-${index}` }));
  expect(() => limitsOnCards([{ device: '*', limit: 1 }], many, {})).toThrow('at most 16');
});

test('where UUIDs cannot be known numbers stay, and a note says so', () => {
  const byNumber = /numbers that each process gives .* is not known/;
  const wanted = [{ device: '0', limit: 1 }];
  const mig = cards.map((card, at) => ({ ...card, mig: at === 1 }));
  for (const known of [undefined, mig]) {
    const { limits, notes } = limitsOnCards(wanted, known, {});
    expect(limits).toEqual(wanted);
    expect(notes).toEqual([expect.stringMatching(byNumber)]);
  }
  const instance = { device: 'MIG-8a5c2b1e-0123-4567-89ab-cdef01234567', limit: 1 };
  expect(limitsOnCards([instance], mig, {})).toEqual({ limits: [instance], notes: [] });
  expect(limitsOnCards([instance], undefined, {}).notes[0]).not.toMatch(byNumber);
});

test('unlike cards may be counted in two orders, and a note says so where it matters', () => {
  const unlike = cards.map((card, at) => ({ ...card, name: at === 0 ? 'Small' : 'Big' }));
  const noteFor = (device: string, env: Record<string, string>): boolean =>
    limitsOnCards([{ device, limit: 1 }], unlike, env).notes.some((note) => note.includes('PCI_BUS_ID'));
  expect(noteFor('0', {})).toBe(true);
  expect(noteFor('0', { CUDA_DEVICE_ORDER: 'PCI_BUS_ID' })).toBe(false);
  expect(noteFor('*', {})).toBe(false);
  expect(noteFor('*', { CUDA_VISIBLE_DEVICES: '1' })).toBe(true);
  expect(noteFor(uuids[0]!, {})).toBe(false);
});

test('nvidia-smi is read with and without MIG, and a card whose UUID is not told makes the rest worth nothing', () => {
  const of = (name: string, memoryBytes: number | null, mig: boolean) => [
    { index: 0, uuid: uuids[0], name, memoryBytes, mig },
  ];
  expect(parseCards(`0, ${uuids[0]}, Enabled, A, B, 1024\n`)).toEqual(of('A, B', GIB, true));
  expect(parseCards(`0, ${uuids[0]}, [N/A], A, [N/A]\n`)).toEqual(of('A', null, false));
  expect(parseCards(`0, ${uuids[0]}, A, 1024\n`)).toEqual(of('A', GIB, false));
  expect(parseCards(`0, ${uuids[0]}, A, 1024\n1, [N/A], B, 1024\n`)).toBeUndefined();
  expect(parseCards('No devices were found\n')).toBeUndefined();
  const [untold] = of('A', null, false) as Card[];
  expect(limitsOnCards([{ device: '*', limit: 1 }], [untold!], {}).notes[0]).toContain('does not tell the memory');
  expect(overcommits([untold!], [session('a', null, [0]), session('b', 1, [0])])).toEqual([]);
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

test('sizes that would read alike are told to the byte', () => {
  const [found] = overcommits(cards, [session('a', 8, [0]), session('b', 2 ** -30, [0])]);
  expect(overcommitText(found!)).toContain('has 8GiB, and a, b would be promised 8589934593');
});

test('a session without limit is promised the whole card', () => {
  expect(overcommits(cards, [session('a', null, [0])])).toEqual([]);
  expect(overcommits(cards, [session('a', null, [0]), session('b', 1, [0])])).toHaveLength(1);
});

test('limits on cards that nobody could tell are not added up', () => {
  expect(overcommits(cards, [{ session: 'a', limits: [{ device: '0', limit: 99 * GIB }] }])).toEqual([]);
});
