// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import type { Clock } from '#base/clock.ts';
import { BrokerUnavailable, TokenRefused } from '../errors.ts';
import { createSession } from './session.ts';
import type { BrokerAnswer, BrokerTransport } from './transport.ts';

function fixture(answer: (call: number) => BrokerAnswer) {
  let time = 1_000_000;
  let calls = 0;
  const used: string[] = [];
  const clock: Clock = { now: () => time, monotonic: () => time, sleep: () => Promise.resolve() };
  const transport: BrokerTransport = {
    post: (_call, { token }) => {
      used.push(token);
      const given = answer(++calls);
      return given.status >= 500 ? Promise.reject(new BrokerUnavailable('token', 'down')) : Promise.resolve(given);
    },
    close: () => Promise.resolve(),
  };
  let unitToken = 'unit-1';
  const session = createSession({ transport, readUnitToken: () => Promise.resolve(unitToken), clock });
  return {
    session,
    used,
    pass: (ms: number) => void (time += ms),
    replaceUnitToken: (token: string) => void (unitToken = token),
    given: (lifeMs: number, call: number): BrokerAnswer => ({
      status: 200,
      body: { token: `session-${call}`, expires_at: time + lifeMs },
    }),
  };
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it('asks once for all who need a token at the same time, and again only when it is two thirds old', async () => {
  const f = fixture((call) => f.given(600_000, call));
  expect(await Promise.all([f.session.token(), f.session.token()])).toEqual(['session-1', 'session-1']);
  f.pass(399_000);
  expect(await f.session.token()).toBe('session-1');
  expect(f.used).toHaveLength(1);
  f.pass(2_000);
  expect(await f.session.token()).toBe('session-1');
  await settle();
  expect(await f.session.token()).toBe('session-2');
});

it('reads the unit token anew for each renewal', async () => {
  const f = fixture((call) => f.given(600_000, call));
  await f.session.token();
  f.replaceUnitToken('unit-2');
  expect(await f.session.renew('session-1')).toBe('session-2');
  expect(f.used).toEqual(['unit-1', 'unit-2']);
});

it('does not renew a token that somebody else has renewed meanwhile', async () => {
  const f = fixture((call) => f.given(600_000, call));
  await f.session.token();
  const renewed = await Promise.all([f.session.renew('session-1'), f.session.renew('session-1')]);
  expect(renewed).toEqual(['session-2', 'session-2']);
  expect(await f.session.renew('session-1')).toBe('session-2');
  expect(f.used).toHaveLength(2);
});

it('keeps a token through an outage until it has ended', async () => {
  const f = fixture((call) => (call === 1 ? f.given(600_000, call) : { status: 503, body: undefined }));
  await f.session.token();
  f.pass(500_000);
  expect(await f.session.token()).toBe('session-1');
  await settle();
  f.pass(100_001);
  await expect(f.session.token()).rejects.toThrow(BrokerUnavailable);
});

it('uses a token whose end lies in the past by a clock that differs', async () => {
  const f = fixture((call) => f.given(-3_600_000, call));
  await f.session.token();
  f.pass(60_000);
  expect(await f.session.token()).toBe('session-1');
});

it.each([401, 403, 404])('is refused by a %i', async (status) => {
  const f = fixture(() => ({ status, body: { detail: 'this unit was retired' } }));
  await expect(f.session.token()).rejects.toThrow(new TokenRefused(`token: ${status} this unit was retired`));
});
