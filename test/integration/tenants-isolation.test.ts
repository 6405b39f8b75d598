// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { WireLease } from '#base/wire/broker.ts';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { parseTenants } from '#gateway/auth/tenants.ts';
import { openEmbeddedQueue } from '#gateway/queue/open.ts';
import { post, problem, status, submit } from './gateway.client.ts';
import type { Headers } from './gateway.client.ts';
import { startStack, testApp } from './gateway.harness.ts';
import type { Stack, TestUnit } from './gateway.harness.ts';
import { logged, readable, testKey } from './tenants.harness.ts';
import type { CallLog } from './tenants.harness.ts';

// Alice owns what the others are after. Bob may call the same app; Carol may not, and neither knows anything else of Alice.
const alice = testKey('client');
const aliceAdmin = testKey('admin');
const bob = testKey('client');
const bobOperator = testKey('operator');
const bobAdmin = testKey('admin');
const carol = testKey('client');
const carolAdmin = testKey('admin');

const SHARED = 'shared.echo';
/** An app of nobody's. */
const NOWHERE = 'shared.none';

let dir: string;
let queue: CallLog;
let s: Stack;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'penstock-isolation-'));
  queue = logged(openEmbeddedQueue({ file: join(dir, 'queue.db'), clock: systemClock, logger: silentLogger }));
  const apps = [SHARED];
  s = await startStack({
    queue: queue.target,
    // No lease runs out while the tests do.
    gateway: { leaseSeconds: 600 },
    apps: [testApp({ namespace: 'shared', maxAttempts: 1 }), testApp({ namespace: 'carol', uid: 'uid-carol' })],
    tenants: parseTenants({
      tenants: [
        { name: 'alice', apps, apiKeys: [alice.entry, aliceAdmin.entry] },
        { name: 'bob', apps, apiKeys: [bob.entry, bobOperator.entry, bobAdmin.entry] },
        { name: 'carol', apiKeys: [carol.entry, carolAdmin.entry] },
      ],
    }),
  });
});
afterAll(async () => {
  await s.close();
  await queue.target.close();
  rmSync(dir, { recursive: true });
});

/** A ticket of the right form that was never issued. */
function inventedTicket(): string {
  return `req_${randomBytes(24).toString('base64url')}`;
}

/** A unit that holds nothing, with an empty queue. */
async function freshUnit(): Promise<TestUnit> {
  const unit = await s.unit(`unit-${randomBytes(4).toString('hex')}`);
  for (;;) {
    const { leases } = await unit.lease(64);
    if (leases.length === 0) return unit;
    for (const lease of leases) await unit.complete(lease, 'cleared away');
  }
}

/** Alice's requests, one in each state that a request can be in. */
async function ticketsOfAlice(): Promise<Record<string, string>> {
  const unit = await freshUnit();
  const send = (state: string): Promise<string> => {
    const key = `${state}-${randomBytes(4).toString('hex')}`;
    return submit(s, key, { ...alice.headers, 'idempotency-key': key }, SHARED);
  };
  const tickets: Record<string, string> = {};
  const end = async (name: string, how: (lease: WireLease) => Promise<unknown>): Promise<void> => {
    tickets[name] = await send(name);
    await how(await unit.one());
  };
  await end('succeeded', (lease) => unit.complete(lease, 'the result of Alice'));
  await end('failed', (lease) => unit.fail(lease, 'handler', 'the cause of Alice'));
  await end('cancelled', async (lease) => {
    await call('DELETE', `${SHARED}/requests/${tickets['cancelled']}`, alice.headers);
    return await unit.release(lease);
  });
  await end('leased', async () => {});
  tickets['queued'] = await send('queued');
  return tickets;
}

const call = (method: string, path: string, headers: Headers): Promise<Response> =>
  fetch(`${s.url}/v1/${path}`, { method, headers });

describe('a ticket of another tenant', () => {
  const routes: [method: string, route: string, headers: Headers][] = [
    ['GET', 'status', {}],
    ['GET', 'status', { prefer: 'wait=60' }],
    ['HEAD', 'requests', {}],
    ['GET', 'requests', {}],
    ['DELETE', 'requests', {}],
  ];

  test.each(routes)(
    '%s …/%s (%j) answers as for one that was never issued, and asks the queue nothing',
    async (method, route, more) => {
      const tickets = await ticketsOfAlice();
      const ask = (ticket: string) => async () =>
        await readable(await call(method, `${SHARED}/${route}/${ticket}`, { ...bob.headers, ...more }));
      const never = await queue.during(ask(inventedTicket()));
      expect(never).toMatchObject({ result: { status: 404 }, methods: [] });
      for (const [state, ticket] of Object.entries(tickets)) {
        expect([state, await queue.during(ask(ticket))]).toEqual([state, never]);
      }
      // One bit away from the real one, by its owner.
      const forged = tickets['queued']?.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')) ?? '';
      const own = await queue.during(() => call(method, `${SHARED}/${route}/${forged}`, alice.headers));
      expect([own.result.status, own.methods]).toEqual([404, []]);
      // Nothing has happened to them.
      expect((await status(s, tickets['queued'] ?? '', alice.headers, SHARED)).headers.get('penstock-state')).toBe(
        'queued',
      );
      expect((await status(s, tickets['leased'] ?? '', alice.headers, SHARED)).headers.get('penstock-state')).toBe(
        'leased',
      );
    },
  );

  test('is as unknown under the name of an own app', async () => {
    const { succeeded = '' } = await ticketsOfAlice();
    const { result, methods } = await queue.during(() => status(s, succeeded, carol.headers));
    expect([await problem(result), methods]).toEqual([[404, 'ticket-unknown'], []]);
  });
});

describe('an app that a tenant may not call', () => {
  const routes: [method: string, rest: string][] = [
    ['POST', 'infer'],
    ['GET', 'status/:ticket'],
    ['GET', 'requests/:ticket'],
    ['DELETE', 'requests/:ticket'],
    ['GET', 'dead-letters'],
    ['GET', 'dead-letters?tenant=alice'],
    ['DELETE', 'dead-letters?all=true'],
    ['POST', 'dead-letters/redrive'],
    ['DELETE', 'dead-letters/:ticket'],
    ['POST', 'dead-letters/:ticket/redrive'],
  ];

  test.each(routes)('%s …/%s answers as for an app that is not there, whatever the role', async (method, rest) => {
    const { failed = '' } = await ticketsOfAlice();
    const path = rest.replace(':ticket', failed);
    for (const { headers } of [carol, carolAdmin]) {
      const body = method === 'POST' ? { body: '{}' } : {};
      const ask = (app: string) => async () =>
        await readable(
          await fetch(`${s.url}/v1/${app}/${path}`, {
            method,
            headers: { ...headers, 'content-type': 'application/json' },
            ...body,
          }),
        );
      const never = await queue.during(ask(NOWHERE));
      expect(never).toMatchObject({ result: { status: 404 }, methods: [] });
      expect(await queue.during(ask(SHARED))).toEqual(never);
    }
  });

  test('says app-unknown', async () => {
    expect(await problem(await post(`${s.url}/v1/${SHARED}/infer`, 'x', carol.headers))).toEqual([404, 'app-unknown']);
  });
});

describe('equal requests of two tenants', () => {
  const json = { 'content-type': 'application/json' };
  const cases: [by: string, body: string, headers: Headers][] = [
    ['the same Idempotency-Key', '{"a":1}', { ...json, 'idempotency-key': 'one-of-alice' }],
    ['the same _rid', '{"_rid":"rid-of-alice"}', json],
    ['the same content', '{"content":"of alice"}', json],
  ];

  test.each(cases)('by %s are two, and the second says no more than a first one does', async (_by, body, headers) => {
    const unit = await freshUnit();
    const first = await submit(s, body, { ...alice.headers, ...headers }, SHARED);
    const send = (text: string, more: Headers) => async () => {
      const answer = await post(`${s.url}/v1/${SHARED}/infer`, text, { ...bob.headers, ...more });
      const { ticket } = (await answer.clone().json()) as { ticket: string };
      return { ticket, ...(await readable(answer)) };
    };
    const fresh = await queue.during(send(`{"fresh":"${randomBytes(8).toString('hex')}"}`, json));
    const theirs = await queue.during(send(body, headers));
    const shape = ({ result, methods }: typeof fresh) =>
      JSON.stringify({ methods, result }).replaceAll(result.ticket, 'TICKET');
    expect(shape(theirs)).toBe(shape(fresh));
    expect(theirs.result.ticket).not.toBe(first);

    // Alice's comes to its end; Bob's goes on, and gets nothing of hers.
    const { leases } = await unit.lease(64);
    for (const lease of leases) {
      const record = await queue.target.get('uid-echo', lease.id);
      if (record?.tenant === 'alice') await unit.complete(lease, 'for Alice alone');
    }
    expect((await status(s, first, alice.headers, SHARED)).status).toBe(200);
    expect((await status(s, theirs.result.ticket, bob.headers, SHARED)).status).toBe(202);
    expect((await submit(s, body, { ...bob.headers, ...headers }, SHARED)) === theirs.result.ticket).toBe(true);
  });

  test('the same key with another body is no conflict', async () => {
    const headers = { ...json, 'idempotency-key': 'conflict' };
    await submit(s, '{"a":1}', { ...alice.headers, ...headers }, SHARED);
    await submit(s, '{"a":2}', { ...bob.headers, ...headers }, SHARED);
    const own = await post(`${s.url}/v1/${SHARED}/infer`, '{"a":3}', { ...bob.headers, ...headers });
    expect(await problem(own)).toEqual([422, 'key-reused']);
  });
});

describe('dead letters', () => {
  interface Listed {
    readonly dead_letters: readonly { readonly tenant: string; readonly id: string }[];
  }
  const list = async (headers: Headers, query = ''): Promise<Listed> => {
    const answer = await call('GET', `${SHARED}/dead-letters${query}`, headers);
    expect(answer.status).toBe(200);
    return (await answer.json()) as Listed;
  };

  test('an operator sees those of the own tenant only; the queue is asked for no others', async () => {
    await ticketsOfAlice();
    const { result, methods } = await queue.during(() => list(bobOperator.headers));
    expect(result.dead_letters).toEqual([]);
    expect(methods.every((method) => method === 'deadLetters')).toBe(true);
    for (const { method, args } of queue.calls.slice(-methods.length)) {
      expect([method, args[1]]).toEqual(['deadLetters', { tenant: 'bob' }]);
    }
    expect((await list(aliceAdmin.headers)).dead_letters.length).toBeGreaterThan(0);
  });

  test('an operator who asks for another tenant’s is refused before the queue is asked, whether there is such a tenant or not', async () => {
    const ask = (tenant: string) => async () =>
      await readable(await call('GET', `${SHARED}/dead-letters?tenant=${tenant}`, bobOperator.headers));
    const never = await queue.during(ask('nobody'));
    expect(never).toMatchObject({ result: { status: 403 }, methods: [] });
    expect(await queue.during(ask('alice'))).toEqual(never);
  });

  test.each([
    ['GET', 'dead-letters', bob],
    ['POST', 'dead-letters/redrive', bob],
    ['DELETE', 'dead-letters?all=true', bob],
    ['POST', 'dead-letters/:id/redrive', bob],
    ['DELETE', 'dead-letters/:id', bob],
    ['POST', 'dead-letters/redrive', bobOperator],
    ['DELETE', 'dead-letters?all=true', bobOperator],
    ['POST', 'dead-letters/:id/redrive', bobOperator],
    ['DELETE', 'dead-letters/:id', bobOperator],
  ])('%s …/%s wants a higher role, and says nothing of what is there', async (method, rest, { headers }) => {
    const { failed = '' } = await ticketsOfAlice();
    const ask = (id: string) => async () =>
      await readable(
        await fetch(`${s.url}/v1/${SHARED}/${rest.replace(':id', id)}`, {
          method,
          headers: { ...headers, 'content-type': 'application/json' },
          ...(method === 'POST' ? { body: '{}' } : {}),
        }),
      );
    const never = await queue.during(ask(inventedTicket()));
    expect(never).toMatchObject({ result: { status: 403 }, methods: [] });
    expect(await queue.during(ask(failed))).toEqual(never);
  });

  test('an admin of a tenant that may call the app sees all of it, and cannot read the requests themselves', async () => {
    const { failed = '' } = await ticketsOfAlice();
    const letters = (await list(bobAdmin.headers)).dead_letters;
    expect(letters.some(({ tenant }) => tenant === 'alice')).toBe(true);
    expect(await problem(await status(s, failed, bobAdmin.headers, SHARED))).toEqual([404, 'ticket-unknown']);
  });
});
