// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { ClientGone } from '../http/client-gone.ts';
import { createByteBudget } from './byte-budget.ts';

const never = new AbortController().signal;

/** Takes, and notes when it got it. */
function ask(budget: ReturnType<typeof createByteBudget>, got: string[], name: string, bytes: number, gone = never) {
  return budget.take(bytes, gone).then((giveBack) => {
    got.push(name);
    return giveBack;
  });
}

test('what fits goes at once, the next one when there is room, in the order of asking', async () => {
  const budget = createByteBudget(10);
  const got: string[] = [];
  const first = await ask(budget, got, 'first', 6);
  const second = ask(budget, got, 'second', 6);
  const third = ask(budget, got, 'third', 1);
  await new Promise(setImmediate);
  expect(got).toEqual(['first']);
  first();
  await Promise.all([second, third]);
  expect(got).toEqual(['first', 'second', 'third']);
});

test('giving back twice frees once', async () => {
  const budget = createByteBudget(10);
  const got: string[] = [];
  const first = await ask(budget, got, 'first', 10);
  first();
  first();
  await ask(budget, got, 'second', 10);
  const third = ask(budget, got, 'third', 10);
  await new Promise(setImmediate);
  expect(got).toEqual(['first', 'second']);
  void third;
});

test('more than there is at all takes all there is', async () => {
  const budget = createByteBudget(10);
  const got: string[] = [];
  const all = await ask(budget, got, 'all', 1000);
  all();
  await ask(budget, got, 'next', 10);
  expect(got).toEqual(['all', 'next']);
});

test('who hangs up while waiting makes room for those behind', async () => {
  const budget = createByteBudget(10);
  const got: string[] = [];
  await ask(budget, got, 'first', 6);
  const gone = new AbortController();
  const large = ask(budget, got, 'large', 9, gone.signal);
  const small = ask(budget, got, 'small', 4);
  gone.abort();
  await expect(large).rejects.toThrow(ClientGone);
  await small;
  expect(got).toEqual(['first', 'small']);
  await expect(budget.take(1, gone.signal)).rejects.toThrow(ClientGone);
});
