// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import type { FakeClock } from '#base/fake-clock.ts';
import { createRateLimiter, createTokenBucket } from './rate-limiter.ts';
import { createWorkqueue } from './workqueue.ts';
import type { Workqueue } from './workqueue.ts';

function aQueue(): { clock: FakeClock; queue: Workqueue; depths: number[] } {
  const clock = createFakeClock();
  const depths: number[] = [];
  const limiter = createRateLimiter(clock, { firstMs: 5, maxMs: 1000, perSecond: 10, burst: 100 });
  return { clock, depths, queue: createWorkqueue(clock, limiter, (depth) => depths.push(depth)) };
}

async function keysOf(queue: Workqueue, n: number): Promise<string[]> {
  const keys: string[] = [];
  for (let i = 0; i < n; i++) keys.push((await queue.get())?.key ?? '(closed)');
  return keys;
}

describe('workqueue', () => {
  test('gives keys in order of their first add, each once', async () => {
    const { queue, depths } = aQueue();
    for (const key of ['a', 'b', 'a', 'c', 'b']) queue.add(key);
    expect(queue.depth()).toBe(3);
    expect(await keysOf(queue, 3)).toEqual(['a', 'b', 'c']);
    expect(queue.depth()).toBe(0);
    expect(depths).toEqual([0, 1, 2, 3, 2, 1, 0]);
  });

  test('a key in progress is given to nobody else and comes again after done', async () => {
    const { queue } = aQueue();
    queue.add('a');
    await queue.get();
    queue.add('a');
    queue.add('a');
    queue.add('b');
    expect(queue.depth()).toBe(1);
    expect(await keysOf(queue, 1)).toEqual(['b']);
    queue.done('a');
    expect(await keysOf(queue, 1)).toEqual(['a']);
    queue.done('a');
    expect(queue.depth()).toBe(0);
  });

  test('get waits for the next key and tells how long the key waited', async () => {
    const { queue, clock } = aQueue();
    const waiting = queue.get();
    queue.add('a');
    expect(await waiting).toEqual({ key: 'a', waitedMs: 0 });
    queue.add('b');
    await clock.advance(1500);
    expect(await queue.get()).toEqual({ key: 'b', waitedMs: 1500 });
  });

  test('two waiting workers get one key each', async () => {
    const { queue } = aQueue();
    const both = [queue.get(), queue.get()];
    queue.add('a');
    queue.add('b');
    expect((await Promise.all(both)).map((item) => item?.key)).toEqual(['a', 'b']);
  });

  test('of several delays the earliest counts, and the key comes once', async () => {
    const { queue, clock } = aQueue();
    queue.addAfter('a', 5000);
    queue.addAfter('a', 1000);
    queue.addAfter('a', 3000);
    await clock.advance(999);
    expect(queue.depth()).toBe(0);
    await clock.advance(1);
    expect(await keysOf(queue, 1)).toEqual(['a']);
    queue.done('a');
    await clock.advance(10_000);
    expect(queue.depth()).toBe(0);
    expect(clock.sleepers()).toBe(0);
  });

  test.for([
    ['zero', 0],
    ['a negative number', -5],
    ['not a number', Number.NaN],
  ] as const)('a delay of %s is none', ([, ms]) => {
    const { queue } = aQueue();
    queue.addAfter('a', ms);
    expect(queue.depth()).toBe(1);
  });

  test('the backoff of a key doubles up to the cap, others stay at theirs, forget starts anew', async () => {
    const { queue, clock } = aQueue();
    const delayOf = async (key: string): Promise<number> => {
      const from = clock.monotonic();
      queue.addRateLimited(key);
      while (queue.depth() === 0) await clock.advance(5);
      const [given] = await keysOf(queue, 1);
      queue.done(given ?? '');
      return clock.monotonic() - from;
    };
    const delays: number[] = [];
    for (let i = 0; i < 10; i++) delays.push(await delayOf('a'));
    expect(delays).toEqual([5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    expect(await delayOf('b')).toBe(5);
    expect(queue.failures('a')).toBe(10);
    queue.forget('a');
    expect(await delayOf('a')).toBe(5);
  });

  test('a server that asks for more than the backoff gets it', async () => {
    const { queue, clock } = aQueue();
    queue.addRateLimited('a', 700);
    await clock.advance(699);
    expect(queue.depth()).toBe(0);
    await clock.advance(1);
    expect(queue.depth()).toBe(1);
  });

  test('when all keys fail at once the first hundred retry by their backoff, the rest at ten a second', async () => {
    const { queue, clock } = aQueue();
    for (let i = 0; i < 130; i++) queue.addRateLimited(`k${i}`);
    await clock.advance(5);
    expect(queue.depth()).toBe(100);
    await clock.advance(995);
    expect(queue.depth()).toBe(110);
    await clock.advance(2000);
    expect(queue.depth()).toBe(130);
  });

  test('after shutdown nothing is taken, what is queued is given out, and it resolves when the last is done', async () => {
    const { queue, clock } = aQueue();
    queue.add('a');
    queue.add('b');
    queue.addAfter('late', 100);
    const first = await queue.get();
    queue.add('a');
    let drained = false;
    const shutdown = queue.shutdown().then(() => (drained = true));
    queue.add('c');
    queue.addRateLimited('d');
    await clock.advance(10_000);
    expect(await keysOf(queue, 1)).toEqual(['b']);
    queue.done('b');
    queue.done(first?.key ?? '');
    await clock.advance(0);
    expect(drained).toBe(false);
    expect(await keysOf(queue, 1)).toEqual(['a']);
    queue.done('a');
    await shutdown;
    expect(await queue.get()).toBeUndefined();
    expect(clock.sleepers()).toBe(0);
  });

  test('shutdown wakes idle workers', async () => {
    const { queue } = aQueue();
    const idle = [queue.get(), queue.get()];
    await queue.shutdown();
    expect(await Promise.all(idle)).toEqual([undefined, undefined]);
  });
});

describe('token bucket', () => {
  test('take never goes below zero and refills with time up to the burst', async () => {
    const clock = createFakeClock();
    const bucket = createTokenBucket(clock, 2, 3);
    expect([1, 2, 3, 4].map(() => bucket.take())).toEqual([true, true, true, false]);
    await clock.advance(500);
    expect([1, 2].map(() => bucket.take())).toEqual([true, false]);
    await clock.advance(60_000);
    expect([1, 2, 3, 4].map(() => bucket.take())).toEqual([true, true, true, false]);
  });
});
