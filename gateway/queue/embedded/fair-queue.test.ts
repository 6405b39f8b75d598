// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { RENORMALISE_ABOVE } from '../limits.ts';
import { FairQueue } from './fair-queue.ts';
import { UNTRIED } from './request.ts';
import type { QueuedRequest } from './request.ts';
import { tagOf } from './tenants.ts';

let seq = 0;

function request(tenant: string): QueuedRequest {
  const body = { contentType: 'a/b', bytes: 0 };
  const fixed = { cost: 0, priority: 0, body, dedupeKey: 'k' };
  const rest = { deadline: 0, maxAttempts: 1, maxLosses: 0, retentionMs: 0, createdAt: 0, score: 0, ended: [] };
  return { ...UNTRIED, ...rest, id: `${seq++}`, app: 'app', fixed, tenant, lane: 'online', seq, revision: 'r1' };
}

function next(fair: FairQueue): QueuedRequest {
  const found = fair.pending.get('online', 'r1')?.next();
  if (found === undefined) throw new Error('nothing waits');
  return found;
}

function queued(shares: readonly string[]): FairQueue {
  const fair = new FairQueue();
  for (const tenant of shares) {
    fair.admit(tenant, { weight: 1 });
    for (let i = 0; i < 50; i++) fair.add(request(tenant));
  }
  return fair;
}

test('virtual times that have grown for years come down together, and the order stays', () => {
  const fair = queued(['a', 'b', 'c']);
  const lease = (cost: number): string => {
    const one = next(fair);
    fair.remove(one);
    fair.charge(one, cost);
    return one.tenant;
  };
  for (let i = 0; i < 9; i++) lease(2 ** 49 + i);
  expect(fair.virtual.online).toBeGreaterThan(RENORMALISE_ABOVE);
  const tags = (): number[] => ['a', 'b', 'c'].map((name) => tagOf(fair.tenant(name)!, 'online'));
  const before = tags();
  expect(fair.renormalise()).toBe(true);
  const after = tags();
  expect(after).toEqual(before.map((tag) => tag - Math.min(...before)));
  expect(fair.virtual.online).toBe(0);
  expect([lease(100), lease(100), lease(100)].toSorted()).toEqual(['a', 'b', 'c']);
  expect(fair.renormalise()).toBe(false);
});

test('a tenant of which nothing needs to be known is forgotten, one that is ahead not before the others have caught up', () => {
  const fair = queued(['b']);
  fair.admit('a', { weight: 1 });
  const only = request('a');
  fair.add(only);
  fair.remove(only);
  fair.charge(only, 10);
  fair.discharge(only, 10);
  fair.ended('a');
  expect(fair.tenant('a')).toBeDefined();
  for (let i = 0; i < 2; i++) {
    const one = next(fair);
    fair.remove(one);
    fair.charge(one, 10);
    fair.forgetPassed();
    expect(fair.tenant('a') === undefined).toBe(i === 1);
  }
});
