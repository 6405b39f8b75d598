// SPDX-License-Identifier: Apache-2.0
import { afterEach, describe, expect, test } from 'vitest';
import { until } from '#test/until.ts';
import { post, problem, status, submit, untilWaiting } from './gateway.client.ts';
import type { Headers } from './gateway.client.ts';
import { makeFleet, startStack, tenantsWithKeys, testApp } from './gateway.harness.ts';
import type { Fleet, Stack, StackOptions } from './gateway.harness.ts';

let stack: Stack | undefined;

async function start(options: StackOptions = {}): Promise<Stack> {
  stack = await startStack(options);
  return stack;
}

afterEach(async () => {
  await stack?.close();
  stack = undefined;
});

describe('equal requests', () => {
  test('that are posted three times while the first is queued are one request', async () => {
    const s = await start();
    const tickets = [await submit(s, 'same'), await submit(s, 'same'), await submit(s, 'same')];
    expect(new Set(tickets).size).toBe(1);
    expect((await s.queue.demand('uid-echo')).queued).toBe(1);
  });

  test('posted a hundred times at once are one request with a hundred answers', async () => {
    const s = await start();
    const answers = Array.from({ length: 100 }, () => post(`${s.url}/v1/echo/infer`, 'single', { prefer: 'wait=30' }));
    const worker = await s.unit('echo-1');
    await worker.complete(await worker.one(), 'once');
    const texts = await Promise.all(answers.map(async (answer) => await (await answer).text()));
    expect(new Set(texts)).toEqual(new Set(['once']));
    expect((await worker.lease(1, 0)).leases).toEqual([]);
  });

  test('of a finished one are a 200 that wakes nobody', async () => {
    const s = await start();
    await submit(s, 'cached');
    const worker = await s.unit('echo-1');
    await worker.complete(await worker.one(), 'CACHED');
    const again = await post(`${s.url}/v1/echo/infer`, 'cached');
    expect([again.status, await again.text()]).toEqual([200, 'CACHED']);
    expect((await s.queue.demand('uid-echo')).queued).toBe(0);
  });

  test('of a failed one start anew', async () => {
    const s = await start();
    const first = await submit(s, 'bad');
    const worker = await s.unit('echo-1');
    expect(await worker.fail(await worker.one(), 'input', 'no such language')).toBe('failed');
    const failed = await status(s, first);
    expect([failed.status, failed.headers.get('penstock-state')]).toEqual([422, 'failed']);
    expect(await failed.json()).toMatchObject({ detail: 'no such language', cause_kind: 'input', field: 'body' });
    expect(await submit(s, 'bad')).not.toBe(first);
  });

  test('by other content type, other app or other tenant are other requests', async () => {
    const keys = { one: 'key-1', two: 'key-2' };
    const s = await start({
      tenants: tenantsWithKeys(keys),
      apps: [
        testApp({ namespace: 'one' }),
        testApp({ namespace: 'one', name: 'b', uid: 'uid-b' }),
        testApp({ namespace: 'two', uid: 'uid-2' }),
      ],
    });
    const one = { authorization: 'Bearer key-1' };
    const tickets = [
      await submit(s, 'same', one),
      await submit(s, 'same', { ...one, 'content-type': 'text/other' }),
      await submit(s, 'same', one, 'b'),
      await submit(s, 'same', { 'x-api-key': 'key-2' }),
    ];
    expect(new Set(tickets).size).toBe(4);
  });

  test.each<[string, [body: string, headers: Headers], [body: string, headers: Headers], number]>([
    [
      'the same Idempotency-Key and body',
      ['{"a":1}', { 'idempotency-key': 'k-1' }],
      ['{"a":1}', { 'idempotency-key': '"k-1"' }],
      202,
    ],
    [
      'the same key and another body',
      ['{"a":1}', { 'idempotency-key': 'k-1' }],
      ['{"a":2}', { 'idempotency-key': 'k-1' }],
      422,
    ],
    ['the same _rid and body', ['{"a":1,"_rid":"r"}', {}], ['{"a":1,"_rid":"r"}', {}], 202],
    ['the same _rid and another body', ['{"a":1,"_rid":"r"}', {}], ['{"a":2,"_rid":"r"}', {}], 422],
    ['a key and the same _rid', ['{"_rid":"r"}', { 'idempotency-key': 'r' }], ['{"_rid":"r"}', {}], 202],
    ['a key and another _rid', ['{"_rid":"r"}', {}], ['{"_rid":"r"}', { 'idempotency-key': 'x' }], 400],
  ])('with %s', async (_name, [body1, headers1], [body2, headers2], expected) => {
    const s = await start();
    const json = { 'content-type': 'application/json' };
    await submit(s, body1, { ...json, ...headers1 });
    const second = await post(`${s.url}/v1/echo/infer`, body2, { ...json, ...headers2 });
    expect(second.status).toBe(expected);
    expect((await s.queue.demand('uid-echo')).queued).toBe(1);
  });

  test('by the same _rid deep in a body too large to hold join too', async () => {
    const s = await start();
    const json = { 'content-type': 'application/json' };
    const body = JSON.stringify({ data: 'x'.repeat(100_000), _rid: 'deep' });
    const first = await submit(s, body, json);
    expect(await submit(s, body, { ...json, 'idempotency-key': 'deep' })).toBe(first);
    const other = await post(`${s.url}/v1/echo/infer`, body.replace('xxx', 'yyy'), json);
    expect(await problem(other)).toEqual([422, 'key-reused']);
    expect((await s.store.list('v1/')).objects).toHaveLength(1);
  });
});

describe('tickets', () => {
  test('that were never issued, of another app or of another tenant are 404', async () => {
    const s = await start({
      tenants: tenantsWithKeys({ one: 'key-1', two: 'key-2' }),
      apps: [
        testApp({ namespace: 'one' }),
        testApp({ namespace: 'one', name: 'b', uid: 'uid-b' }),
        testApp({ namespace: 'two', uid: 'uid-2' }),
      ],
    });
    const one = { authorization: 'Bearer key-1' };
    const ticket = await submit(s, 'mine', one);
    const wrong = `${ticket.slice(0, -1)}${ticket.endsWith('A') ? 'B' : 'A'}`;
    expect((await status(s, ticket, one)).status).toBe(202);
    expect(await problem(await status(s, wrong, one))).toEqual([404, 'ticket-unknown']);
    expect(await problem(await status(s, ticket, one, 'b'))).toEqual([404, 'ticket-unknown']);
    expect(await problem(await status(s, ticket, { authorization: 'Bearer key-2' }))).toEqual([404, 'ticket-unknown']);
    expect(await problem(await status(s, ticket, { authorization: 'Bearer key-2' }, 'one.echo'))).toEqual([
      404,
      'app-unknown',
    ]);
    expect(await problem(await status(s, ticket))).toEqual([401, 'unauthenticated']);
  });

  test('whose record is gone are 410 after the retention, else 500 and counted', async () => {
    const fleet = await makeFleet();
    const ticket = await ticketOfLostDisk(fleet, 'x');
    const s = await start({ fleet });
    const lost = await status(s, ticket);
    expect(await problem(lost)).toEqual([500, 'request-lost']);
    expect(await s.registry.metrics()).toMatch(/penstock_requests_lost_total\{[^}]*\} 1/);
    s.apps.set(testApp({ retentionSeconds: 0 }));
    expect(await problem(await status(s, ticket))).toEqual([410, 'result-expired']);
  });
});

/** A ticket that is genuine and of which the queue knows nothing, as after the loss of its disk. */
async function ticketOfLostDisk(fleet: Fleet, body: string): Promise<string> {
  const before = await startStack({ fleet });
  try {
    return await submit(before, body);
  } finally {
    await before.close();
  }
}

test('a ticket whose record was swept stays 410 when the retention is raised later; one that is lost stays 500', async () => {
  const fleet = await makeFleet();
  const s = await start({ apps: [testApp({ retentionSeconds: 1 })], fleet });
  const swept = await submit(s, 'old');
  expect((await fetch(`${s.url}/v1/echo/requests/${swept}`, { method: 'DELETE' })).status).toBe(200);
  await s.queue.sweep(100, Date.now() + 2_000);
  s.apps.set(testApp());
  expect(await problem(await status(s, swept))).toEqual([410, 'result-expired']);
  const made = Date.now();
  await until(() => Date.now() > made, { what: 'the next millisecond: tickets carry their time in whole ones' });
  const lost = await ticketOfLostDisk(fleet, 'new');
  expect(await problem(await status(s, lost))).toEqual([500, 'request-lost']);
  expect(await problem(await status(s, swept))).toEqual([410, 'result-expired']);
  expect(await s.registry.metrics()).toMatch(/penstock_requests_lost_total\{[^}]*\} 1/);
});

describe('cancel', () => {
  test('of a queued request is at once, of a leased one goes through its worker', async () => {
    const s = await start();
    const queued = await submit(s, 'queued');
    const cancel = (ticket: string): Promise<Response> =>
      fetch(`${s.url}/v1/echo/requests/${ticket}`, { method: 'DELETE' });
    expect((await cancel(queued)).status).toBe(200);
    expect(await problem(await status(s, queued))).toEqual([409, 'cancelled']);
    expect((await cancel(queued)).status).toBe(200);

    const leased = await submit(s, 'leased');
    const worker = await s.unit('echo-1');
    const lease = await worker.one();
    expect((await cancel(leased)).status).toBe(202);
    expect((await worker.extend(lease)).leases).toMatchObject([{ id: lease.id, cancel: true }]);
    expect(await worker.complete(lease, 'too late')).toBe('cancelled');
    expect(await problem(await status(s, leased))).toEqual([409, 'cancelled']);

    const finished = await submit(s, 'finished');
    await worker.complete(await worker.one(), 'done');
    expect(await problem(await cancel(finished))).toEqual([409, 'already-final']);
  });

  test('answers a client that waits', async () => {
    const s = await start();
    const ticket = await submit(s, 'wait');
    const waiting = status(s, ticket, { prefer: 'wait=30' });
    await untilWaiting(s, 'clients', 1);
    await fetch(`${s.url}/v1/echo/requests/${ticket}`, { method: 'DELETE' });
    expect(await problem(await waiting)).toEqual([409, 'cancelled']);
  });
});
