// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { systemClock } from './clock.ts';
import { seededRandom, systemRandom } from './random.ts';
import { uuid7, uuid7Time } from './uuid7.ts';

test('a UUID carries version 7, the RFC 9562 variant and its time', () => {
  const now = 1_790_000_000_123;
  const id = uuid7({ ...systemClock, now: () => now }, systemRandom);
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  expect(uuid7Time(id)).toBe(now);
});

test('later ones sort after earlier ones', () => {
  const random = seededRandom(1);
  const ids = [1, 2, 255, 256, 65_536, 2 ** 40].map((ms) => uuid7({ ...systemClock, now: () => ms }, random));
  expect(ids.toSorted()).toEqual(ids);
});

test('the same seed draws the same UUID, another one another', () => {
  const clock = { ...systemClock, now: () => 5 };
  expect(uuid7(clock, seededRandom(3))).toBe(uuid7(clock, seededRandom(3)));
  expect(uuid7(clock, seededRandom(3))).not.toBe(uuid7(clock, seededRandom(4)));
});

test.each(['', 'x', '0198f000-0000-4000-8000-000000000000', '0198F000-0000-7000-8000-000000000000'])(
  'no time is read from %j',
  (text) => {
    expect(uuid7Time(text)).toBeUndefined();
  },
);
