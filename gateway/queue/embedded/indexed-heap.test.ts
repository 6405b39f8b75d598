// SPDX-License-Identifier: Apache-2.0
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { IndexedHeap } from './indexed-heap.ts';

interface Item {
  readonly key: string;
  readonly at: number;
}

const make = (): IndexedHeap<Item> =>
  new IndexedHeap<Item>(
    (a, b) => a.at < b.at || (a.at === b.at && a.key < b.key),
    (item) => item.key,
  );
const sorted = (items: Iterable<Item>): Item[] => [...items].sort((a, b) => a.at - b.at || (a.key < b.key ? -1 : 1));

test('an empty heap has nothing, and deleting from it changes nothing', () => {
  const heap = make();
  expect([heap.size, heap.peek(), heap.get('x'), heap.delete('x'), heap.first(3)]).toEqual([
    0,
    undefined,
    undefined,
    false,
    [],
  ]);
});

test('after any puts, moves and deletes it holds what a sorted list holds', () => {
  const key = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l');
  const step = fc.oneof(fc.record({ put: fc.record({ key, at: fc.nat(20) }) }), fc.record({ drop: key }));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const heap = make();
      const model = new Map<string, Item>();
      for (const one of steps) {
        const dropped = 'drop' in one && [heap.delete(one.drop), model.delete(one.drop)];
        if ('put' in one) heap.put(one.put);
        if ('put' in one) model.set(one.put.key, one.put);
        expect(dropped && dropped[0] !== dropped[1]).toBe(false);
        expect(heap.peek()).toEqual(sorted(model.values())[0]);
      }
      expect(heap.size).toBe(model.size);
      expect(heap.first(5)).toEqual(sorted(model.values()).slice(0, 5));
      expect(heap.first(1_000)).toEqual(sorted(model.values()));
    }),
    { seed: 1, numRuns: 200 },
  );
});
