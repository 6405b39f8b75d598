// SPDX-License-Identifier: Apache-2.0
// Credentials of units that end before their time: sessions that are renewed or revoked, units that are revoked.
import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, inject, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { until } from '#test/until.ts';
import { problem, status, submit, untilWaiting } from './gateway.client.ts';
import { held, makeFleet, startStack } from './gateway.harness.ts';
import type { Stack, TestUnit } from './gateway.harness.ts';

const cleanUp: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).toReversed()) await step();
});

async function start(leaseSeconds = 30): Promise<Stack> {
  const stack = await startStack({ gateway: { leaseSeconds } });
  cleanUp.push(stack.close);
  return stack;
}

/** Two replicas on one Redis. */
async function replicas(): Promise<[Stack, Stack]> {
  const { url } = inject('servers').redis;
  const prefix = `sessions-${randomBytes(6).toString('hex')}`;
  const fleet = await makeFleet();
  const open = async (): Promise<Stack> => {
    const queue = await openRedisQueue({ url, prefix, clock: systemClock, logger: silentLogger });
    const stack = await startStack({ queue, fleet });
    cleanUp.push(async () => {
      await stack.close();
      await queue.close();
    });
    return stack;
  };
  return [await open(), await open()];
}

function jtiOf(token: string): string {
  const claims = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString()) as { jti: string };
  return claims.jti;
}

async function revoke(s: Stack, body: unknown, token?: string): Promise<Response> {
  return await fetch(`${s.internal}/internal/v1/revoke`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token ?? (await s.operatorToken())}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

const ask = { max: 1, wait_seconds: 0 };

/** The same session at another replica. */
function callAt(s: Stack, { token }: TestUnit, call: string, body: unknown): Promise<Response> {
  return fetch(`${s.internal}/internal/v1/${call}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
}

/** The status of a call at a replica, once that is no longer `before`. */
function changed(call: () => Promise<Response>, before = 200): Promise<[number, string]> {
  return until(
    async () => {
      const answer = await call();
      return answer.status !== before && (await problem(answer));
    },
    { what: 'another answer', timeoutMs: 20_000 },
  );
}

describe('a revoked session', () => {
  test('is refused by every replica, while its unit goes on with a new one', async () => {
    const [a, b] = await replicas();
    const unit = await a.unit('echo-1');
    expect((await callAt(b, unit, 'lease', ask)).status).toBe(200);
    expect(await (await revoke(a, { jti: jtiOf(unit.token) })).json()).toEqual({ revoked: true });
    expect(await problem(await unit.post('lease', ask))).toEqual([401, 'credential-revoked']);
    expect(await changed(() => callAt(b, unit, 'lease', ask))).toEqual([401, 'credential-revoked']);
    const again = await b.unit('echo-1');
    await submit(a, 'goes on');
    expect((await again.one()).attempt).toBe(1);
  });

  test('can do nothing about the lease that it took, which the unit’s next session can', async () => {
    const s = await start();
    await submit(s, 'x');
    const unit = await s.unit('echo-1');
    const lease = await unit.one();
    await revoke(s, { jti: jtiOf(unit.token) });
    for (const call of ['extend', 'release'])
      expect(await problem(await unit.post(call, { leases: [held(lease)] }))).toEqual([401, 'credential-revoked']);
    const result = { content_type: 'text/plain', bytes: 0 };
    const done = { results: [{ ...held(lease), result, service_micros: 1 }] };
    expect(await problem(await unit.post('complete', done))).toEqual([401, 'credential-revoked']);
    expect(await (await s.unit('echo-1')).complete(lease, 'done')).toBe('committed');
  });
});

describe('a revoked unit', () => {
  test('is refused with its token and every session, also while busy; what it held is run again elsewhere', async () => {
    const s = await start(3);
    const ticket = await submit(s, 'x');
    const unit = await s.unit('echo-1');
    const lease = await unit.one();
    const answer = await revoke(s, { app: 'uid-echo', unit: 'echo-1' });
    expect(await answer.json()).toEqual({ revoked: true, retired: false });
    expect(await problem(await unit.post('extend', { leases: [held(lease)] }))).toEqual([401, 'credential-revoked']);
    await expect(s.unit('echo-1')).rejects.toThrow(/credential-revoked/);
    const other = await s.unit('echo-2');
    const again = await other.one(20);
    expect([again.id, again.attempt]).toEqual([lease.id, 2]);
    expect(await other.complete(again, 'by another')).toBe('committed');
    expect(await (await status(s, ticket)).text()).toBe('by another');
  });

  test('that is idle is retired in the same call, and refused by every replica', async () => {
    const [a, b] = await replicas();
    const unit = await a.unit('echo-1');
    await unit.lease(1);
    const answer = await revoke(b, { app: 'uid-echo', unit: 'echo-1' });
    expect(await answer.json()).toEqual({ revoked: true, retired: true });
    expect(await changed(() => unit.post('extend', { leases: [] }), 400)).toEqual([401, 'credential-revoked']);
    await expect(b.unit('echo-1')).rejects.toThrow(/credential-revoked/);
    expect((await (await a.unit('echo-2')).lease(1)).verdict).toBe('stay');
  });

  test('that waits for work is given none', async () => {
    const s = await start();
    const unit = await s.unit('echo-1');
    const busy = await s.unit('echo-2');
    await submit(s, 'first');
    const lease = await unit.one();
    const waiting = unit.post('lease', { max: 1, wait_seconds: 30 });
    await untilWaiting(s, 'units', 1);
    await revoke(s, { app: 'uid-echo', unit: 'echo-1' });
    await submit(s, 'second');
    expect(await problem(await waiting)).toEqual([401, 'credential-revoked']);
    const next = await busy.one(20);
    expect([next.id === lease.id, next.attempt]).toEqual([false, 2]);
  });
});

test.each([
  [{}, 'body'],
  [{ app: 'uid-echo' }, 'body.unit'],
  [{ unit: 'echo-1' }, 'body.unit'],
  [{ jti: 'x', app: 'uid-echo' }, 'body.app'],
  [{ jti: 'x', unit: 'echo-1' }, 'body.unit'],
  [{ app: '../x', unit: 'echo-1' }, 'body.app'],
  [{ jti: '' }, 'body.jti'],
])('a call to revoke %j is a 400 that names %s', async (body, field) => {
  const s = await start();
  expect(await (await revoke(s, body)).json()).toMatchObject({ status: 400, field });
});

test('only the operator revokes', async () => {
  const s = await start();
  const unit = await s.unit('echo-1');
  expect((await revoke(s, { jti: jtiOf(unit.token) }, unit.token)).status).toBe(401);
  expect((await unit.lease(1)).verdict).toBe('stay');
});
