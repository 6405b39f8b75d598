// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { seededRandom } from '#base/random.ts';
import type { Random } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import { resultKey } from '../store/keys.ts';
import { createSlots } from './slots.ts';
import { findResults } from './stored-results.ts';

const nonce = (random: Random): string => Buffer.from(random.bytes(8)).toString('hex');

/** A store that lists `pageSize` keys at a time. */
function listing(keys: readonly string[], pageSize: number) {
  const sorted = keys.toSorted();
  let calls = 0;
  return {
    calls: () => calls,
    list: async (prefix: string, { cursor = '' }: { readonly cursor?: string } = {}) => {
      calls += 1;
      const from = sorted.filter((key) => key.startsWith(prefix) && key > cursor);
      const page = from.slice(0, pageSize);
      const objects = page.map((key) => ({ key, bytes: 1, modifiedAt: sorted.indexOf(key) }));
      return { objects, ...(from.length > pageSize ? { cursor: page.at(-1) ?? '' } : {}) };
    },
  };
}

async function find(store: ReturnType<typeof listing>, ids: readonly string[]): Promise<Map<string, string>> {
  const options = { store, slots: createSlots(1), signal: new AbortController().signal };
  const found = new Map<string, string>();
  for await (const some of findResults(options, 'a', ids)) {
    for (const [id, { key }] of some) {
      expect(found.has(id)).toBe(false);
      found.set(id, key);
    }
  }
  return found;
}

test.each(Array.from({ length: 40 }, (_, i) => i + 1))(
  'seed %i: finds what a look at every key finds',
  async (seed) => {
    const random = seededRandom(seed);
    const clock = createFakeClock();
    const [wanted, keys, expected] = [[] as string[], [] as string[], new Map<string, string>()];
    for (let i = 0; i < 60; i++) {
      clock.stepWall(Math.floor(random.fraction() * 3));
      const id = uuid7(clock, random);
      const epochs = Array.from({ length: Math.floor(random.fraction() * 4) }, (_, n) => n * 7 + 1);
      const mine = epochs.map((epoch) => resultKey('a', id, { epoch, nonce: nonce(random) }));
      keys.push(...mine);
      if (random.fraction() < 0.5) continue;
      wanted.push(id);
      const latest = mine.at(-1);
      if (latest !== undefined) expected.set(id, latest);
    }
    keys.push('v1/a/bodies/x', 'v1/b/results/x', 'v1/a/results/0-none-of-ours', 'v1/a/results/zzz/1.x');
    // A page holds the attempts of one request at least.
    const found = await find(listing(keys, 4 + Math.floor(random.fraction() * 20)), wanted);
    expect(found).toEqual(expected);
  },
);

test('what is unfinished is younger than what is done: one page answers for all', async () => {
  const random = seededRandom(1);
  const clock = createFakeClock();
  const make = (): string => {
    clock.stepWall(1);
    return uuid7(clock, random);
  };
  const done = Array.from({ length: 2_000 }, make);
  const store = listing(
    done.map((id) => resultKey('a', id, { epoch: 1, nonce: nonce(random) })),
    1_000,
  );
  const unfinished = [done[1_500] ?? '', ...Array.from({ length: 5_000 }, make)];
  expect([...(await find(store, unfinished)).keys()]).toEqual([done[1_500]]);
  expect(store.calls()).toBe(1);
});

test('nothing is asked for nothing', async () => {
  const store = listing([], 10);
  expect([(await find(store, [])).size, store.calls()]).toEqual([0, 0]);
});
