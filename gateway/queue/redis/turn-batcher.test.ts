// SPDX-License-Identifier: Apache-2.0
import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { RUN_WEIGHT } from '../limits.ts';
import type { Argument } from './runner.ts';
import { TurnBatcher } from './turn-batcher.ts';

interface Call {
  readonly app: string;
  readonly now: number | undefined;
  readonly ids: readonly Argument[];
}

const completion = (unit: string, id: string): Argument[] => [unit, id, '1', 'nonce', 5, '', ''];

/** Answers each completion with its own id, so that a mix-up shows. */
function setUp(fail?: (call: Call) => boolean) {
  const calls: Call[] = [];
  const run = async (app: string, now: number | undefined, args: readonly Argument[]): Promise<string[]> => {
    const call = { app, now, ids: args.filter((_, i) => i % 7 === 1) };
    calls.push(call);
    if (fail?.(call)) throw new Error('Redis is away');
    return call.ids.map(String);
  };
  const batcher = new TurnBatcher({ perItem: 7, maxWeight: RUN_WEIGHT, run });
  return { calls, batcher };
}

describe('turn batcher', () => {
  it('takes what arrives in one turn in one run, and gives everyone their own outcomes', async () => {
    const { calls, batcher } = setUp();
    const outcomes = await Promise.all([
      batcher.add('app', completion('u1', 'a'), undefined),
      batcher.add('app', [...completion('u2', 'b'), ...completion('u2', 'c')], undefined),
      batcher.add('other', completion('u3', 'd'), undefined),
    ]);
    expect(outcomes).toEqual([['a'], ['b', 'c'], ['d']]);
    expect(calls.map(({ app, ids }) => [app, ids])).toEqual([
      ['app', ['a', 'b', 'c']],
      ['other', ['d']],
    ]);
    expect(await batcher.add('app', completion('u1', 'later'), undefined)).toEqual(['later']);
    expect(calls).toHaveLength(3);
  });

  it('never puts several calls together beyond a full run, and takes a larger call as one', async () => {
    const { calls, batcher } = setUp();
    const some = (unit: string, n: number): Argument[] =>
      Array.from({ length: n }, (_, i) => completion(unit, `${unit}-${i}`)).flat();
    const sizes = [3 * RUN_WEIGHT, 1, RUN_WEIGHT - 1, 2];
    const outcomes = await Promise.all(sizes.map((n, i) => batcher.add('app', some(`u${i}`, n), undefined)));
    expect(outcomes.map((list) => list.length)).toEqual(sizes);
    expect(outcomes[3]).toEqual(['u3-0', 'u3-1']);
    expect(calls.map(({ ids }) => ids.length)).toEqual([3 * RUN_WEIGHT, RUN_WEIGHT, 2]);
  });

  it('sends the first full run at once and everything else in the next turn, in order', async () => {
    const { calls, batcher } = setUp();
    const ids = (): unknown[] => calls.flatMap((call) => call.ids);
    const all = Array.from({ length: 3 * RUN_WEIGHT }, (_, i) =>
      batcher.add('app', completion('u', `${i}`), undefined),
    );
    await nextTurn();
    expect(ids()).toHaveLength(RUN_WEIGHT);
    all.push(batcher.add('app', completion('u', 'late'), undefined));
    await nextTurn();
    expect(ids()).toEqual([...Array.from({ length: 3 * RUN_WEIGHT }, (_, i) => `${i}`), 'late']);
    expect((await Promise.all(all)).flat()).toEqual(ids());
    expect(await batcher.add('app', completion('u', 'after'), undefined)).toEqual(['after']);
  });

  it('a run that fails is heard by its own callers only', async () => {
    const { batcher } = setUp(({ app }) => app === 'bad');
    const [good, bad, worse] = await Promise.allSettled([
      batcher.add('good', completion('u', 'a'), undefined),
      batcher.add('bad', completion('u', 'b'), undefined),
      batcher.add('bad', completion('u', 'c'), undefined),
    ]);
    expect([good.status, bad.status, worse.status]).toEqual(['fulfilled', 'rejected', 'rejected']);
  });

  it('calls share a run with those of the same set time only', async () => {
    const { calls, batcher } = setUp();
    const add = (id: string, now?: number) => batcher.add('app', completion('u', id), now);
    const outcomes = await Promise.all([add('a', 1000), add('b', 2000), add('c'), add('d', 1000)]);
    expect(outcomes).toEqual([['a'], ['b'], ['c'], ['d']]);
    expect(calls.map(({ app, now, ids }) => [app, now, ids])).toEqual([
      ['app', 1000, ['a', 'd']],
      ['app', 2000, ['b']],
      ['app', undefined, ['c']],
    ]);
  });
});
