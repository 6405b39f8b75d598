// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import type { Clock } from '#base/clock.ts';
import { createFakeClock } from '#base/fake-clock.ts';
import { createRateLimiter, queueFull } from './ratelimit.ts';
import type { RateLimiter } from './ratelimit.ts';

const RATE = { perSecond: 2, burst: 3 };
function limiterOf(clock: Clock, max = 100, refused: string[] = []): RateLimiter {
  return createRateLimiter({ clock, refused: (tenant) => void refused.push(tenant), max });
}

const one = { name: 'one', requestRate: RATE };

function refusal(call: () => unknown): Record<string, string> {
  try {
    call();
  } catch (err) {
    return (err as { headers: Record<string, string> }).headers;
  }
  throw new Error('it was not refused');
}

test('a burst, then the rate; each answer says what is left and for how long', async () => {
  const clock = createFakeClock();
  const refused: string[] = [];
  const { take } = limiterOf(clock, 100, refused);
  const policy = { 'ratelimit-policy': '"requests";q=3;w=2' };
  expect([take(one), take(one), take(one)]).toEqual([
    { ...policy, ratelimit: '"requests";r=2;t=1' },
    { ...policy, ratelimit: '"requests";r=1;t=1' },
    { ...policy, ratelimit: '"requests";r=0;t=1' },
  ]);
  expect(() => take(one)).toThrow(expect.objectContaining({ status: 429, code: 'rate-limited' }));
  expect(refusal(() => take(one))).toEqual({ ...policy, ratelimit: '"requests";r=0;t=1', 'retry-after': '1' });
  expect(refused).toEqual(['one', 'one']);
  await clock.advance(499);
  expect(() => take(one)).toThrow('2 requests a second, and 3 at once');
  await clock.advance(1);
  expect(take(one)).toMatchObject({ ratelimit: '"requests";r=0;t=1' });
  expect(() => take(one)).toThrow('2 requests a second');
  await clock.advance(3_600_000);
  expect(take(one)).toMatchObject({ ratelimit: '"requests";r=2;t=1' });
});

test('a slow rate says how long to wait, and Retry-After is never before the end of the window', () => {
  const { take } = limiterOf(createFakeClock());
  const slow = { name: 'slow', requestRate: { perSecond: 0.1, burst: 1 } };
  expect(take(slow)).toEqual({ 'ratelimit-policy': '"requests";q=1;w=10', ratelimit: '"requests";r=0;t=10' });
  expect(refusal(() => take(slow))).toMatchObject({ ratelimit: '"requests";r=0;t=10', 'retry-after': '10' });
});

test('over a long time a tenant gets its rate, and refused requests cost it nothing', async () => {
  const clock = createFakeClock();
  const { take } = limiterOf(clock);
  const busy = { name: 'busy', requestRate: { perSecond: 3, burst: 7 } };
  let taken = 0;
  for (let i = 0; i < 10_000; i += 1) {
    try {
      take(busy);
      taken += 1;
    } catch {
      // Refused: it tries again.
    }
    await clock.advance(10);
  }
  expect(taken).toBe(7 + 300 - 1);
});

test('tenants do not touch each other; one without a rate is never counted', () => {
  const limiter = limiterOf(createFakeClock());
  for (let i = 0; i < 3; i += 1) limiter.take(one);
  expect(limiter.take({ name: 'two', requestRate: RATE })).toMatchObject({ ratelimit: '"requests";r=2;t=1' });
  expect(limiter.take({ name: 'three' })).toBeUndefined();
  expect(limiter.size()).toBe(2);
});

test('only so many are remembered; the one unseen for longest is forgotten first', () => {
  const limiter = limiterOf(createFakeClock(), 2);
  const named = (name: string) => ({ name, requestRate: RATE });
  for (const name of ['a', 'b', 'a', 'c']) limiter.take(named(name));
  expect(limiter.size()).toBe(2);
  expect(limiter.take(named('a'))).toMatchObject({ ratelimit: '"requests";r=0;t=1' });
});

test('a raised rate holds at once, a lowered one too', () => {
  const { take } = limiterOf(createFakeClock());
  for (let i = 0; i < 3; i += 1) take(one);
  expect(take({ name: 'one', requestRate: { perSecond: 20, burst: 60 } })).toBeDefined();
  expect(() => take({ name: 'one', requestRate: { perSecond: 2, burst: 1 } })).toThrow('2 requests a second');
});

test('a full queue is a quota of what is held at once', () => {
  expect(queueFull({ queued: 5, limit: 5 })).toMatchObject({
    status: 429,
    code: 'queue-full',
    headers: {
      'ratelimit-policy': '"queued";q=5;qu="concurrent-requests"',
      ratelimit: '"queued";r=0',
      'retry-after': '1',
    },
  });
  expect(queueFull({ queued: 5, limit: 5 }, { 'ratelimit-policy': '"a";q=1', ratelimit: '"a";r=1' })).toMatchObject({
    headers: {
      'ratelimit-policy': '"queued";q=5;qu="concurrent-requests", "a";q=1',
      ratelimit: '"queued";r=0, "a";r=1',
    },
  });
});
