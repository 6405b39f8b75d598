// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { Company } from './company.ts';

it('lets requests in side by side, and one alone only when all before it have left', async () => {
  const company = new Company();
  const order: string[] = [];
  const enter = (name: string, alone: boolean): Promise<void> => company.enter(alone).then(() => void order.push(name));
  void enter('a', false);
  void enter('b', false);
  void enter('alone', true);
  void enter('c', false);
  void enter('d', false);
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  await settle();
  expect([order, company.size]).toEqual([['a', 'b'], 2]);
  company.leave();
  await settle();
  expect(order).toEqual(['a', 'b']);
  company.leave();
  await settle();
  expect([order, company.size]).toEqual([['a', 'b', 'alone'], 1]);
  company.leave();
  await settle();
  expect([order, company.size]).toEqual([['a', 'b', 'alone', 'c', 'd'], 2]);
});
