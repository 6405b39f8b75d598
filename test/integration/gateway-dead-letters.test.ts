// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { AuditEntry } from '#gateway/audit.ts';
import { parseTenants } from '#gateway/auth/tenants.ts';
import { QueueError } from '#gateway/queue/errors.ts';
import { post, problem, status, submit } from './gateway.client.ts';
import type { Headers } from './gateway.client.ts';
import { bodyOf, startStack, testApp } from './gateway.harness.ts';
import type { Stack } from './gateway.harness.ts';

const KEYS = {
  client: 'key-client',
  operator: 'key-operator',
  admin: 'key-admin',
  other: 'key-other',
  stranger: 'key-stranger',
};

/** Team and other share the app of namespace team; a stranger may not know of it. */
const TENANTS = parseTenants({
  tenants: [
    {
      name: 'team',
      maxInFlight: 3,
      apiKeys: (['client', 'operator', 'admin'] as const).map((role) => ({ sha256: hash('sha256', KEYS[role]), role })),
    },
    { name: 'other', apps: ['team.echo'], apiKeys: [{ sha256: hash('sha256', KEYS.other), role: 'operator' }] },
    { name: 'stranger', apiKeys: [{ sha256: hash('sha256', KEYS.stranger), role: 'admin' }] },
  ],
});

interface Letter {
  readonly id: string;
  readonly request: string;
  readonly tenant: string;
  readonly cause: { readonly kind: string; readonly message: string };
  readonly body: Record<string, unknown>;
  readonly attempts: readonly Record<string, unknown>[];
  readonly redriven_as?: string;
}

interface Page {
  readonly dead_letters: readonly Letter[];
  readonly cursor?: string;
}

let stack: Stack;
let audited: AuditEntry[];

beforeEach(async () => {
  audited = [];
  const audit = { record: (entry: AuditEntry) => void audited.push(entry), close: () => {} };
  stack = await startStack({ apps: [testApp({ namespace: 'team', maxAttempts: 1 })], tenants: TENANTS, audit });
});

afterEach(async () => {
  await stack.close();
});

type Who = keyof typeof KEYS;
const as = (who: Who): Headers => ({ authorization: `Bearer ${KEYS[who]}` });
const url = (path = ''): string => `${stack.url}/v1/team.echo/dead-letters${path}`;
const ask = (path: string, who: Who = 'admin', method = 'GET'): Promise<Response> =>
  fetch(url(path), { method, headers: as(who) });
const page = async (path: string, who: Who = 'admin'): Promise<Page> => (await (await ask(path, who)).json()) as Page;
const redriveAll = (filter: unknown, who: Who = 'admin'): Promise<Response> =>
  post(url('/redrive'), JSON.stringify(filter), { ...as(who), 'content-type': 'application/json' });

/** Submits and lets the handler fail for good. */
async function die(body: string, who: Who = 'client', kind: 'handler' | 'timeout' = 'handler'): Promise<string> {
  const ticket = await submit(stack, body, as(who), 'team.echo');
  const worker = await stack.unit('echo-1');
  await worker.fail(await worker.one(), kind, 'it broke');
  return ticket;
}

describe('dead letters are listed', () => {
  test('with whose they are, causes, attempts and a reference to the body, never the body', async () => {
    const ticket = await die('the secret body');
    const text = await (await ask('')).text();
    expect(text).not.toContain('secret');
    expect(text).not.toContain(Buffer.from('the secret body').toString('base64'));
    const { dead_letters: letters } = JSON.parse(text) as Page;
    expect(letters).toEqual([
      expect.objectContaining({
        id: ticket,
        app: 'team.echo',
        tenant: 'team',
        cause: { kind: 'handler', message: 'it broke' },
        body: { content_type: 'text/plain', bytes: 15 },
        failures: 1,
        attempts: [expect.objectContaining({ attempt: 1, unit: 'echo-1', outcome: 'handler' })],
      }),
    ]);
  });

  test('by pages, oldest death first, each of them once', async () => {
    const tickets = [await die('1'), await die('2'), await die('3'), await die('4'), await die('5')];
    const seen: string[] = [];
    let cursor: string | undefined;
    do {
      const next: Page = await page(`?limit=2${cursor === undefined ? '' : `&cursor=${cursor}`}`);
      expect(next.dead_letters.length).toBeLessThanOrEqual(2);
      seen.push(...next.dead_letters.map(({ id }) => id));
      ({ cursor } = next);
    } while (cursor !== undefined);
    expect(seen).toEqual(tickets);
  });

  test('by cause, time and tenant', async () => {
    const [handler, timeout, foreign] = [await die('a'), await die('b', 'client', 'timeout'), await die('c', 'other')];
    const ids = async (query: string): Promise<string[]> => (await page(query)).dead_letters.map(({ id }) => id);
    expect(await ids('?cause=timeout')).toEqual([timeout]);
    expect(await ids('?tenant=other')).toEqual([foreign]);
    expect(await ids('?tenant=team&cause=handler')).toEqual([handler]);
    expect(await ids('?until=2020-01-01T00:00:00Z')).toEqual([]);
    expect(await ids('?since=2020-01-01T00:00:00Z')).toEqual([handler, timeout, foreign]);
  });

  test('to an operator as far as they are of the own tenant', async () => {
    const [own, foreign] = [await die('a'), await die('b', 'other')];
    expect((await page('', 'operator')).dead_letters.map(({ id }) => id)).toEqual([own]);
    expect((await page('', 'other')).dead_letters.map(({ id }) => id)).toEqual([foreign]);
    expect(await problem(await ask('?tenant=other', 'operator'))).toEqual([403, 'forbidden']);
  });
});

describe('a dead letter that is redriven', () => {
  test('is a new request with the same body, and answers the same ticket to a repeat', async () => {
    const dead = await die('again');
    const first = await ask(`/${dead}/redrive`, 'admin', 'POST');
    expect(first.status).toBe(202);
    const { ticket, outcome } = (await first.json()) as { ticket: string; outcome: string };
    expect([outcome, ticket === dead]).toEqual(['redriven', false]);
    expect(first.headers.get('location')).toBe(`/v1/team.echo/status/${ticket}`);
    const again = await ask(`/${dead}/redrive`, 'admin', 'POST');
    expect(await again.json()).toMatchObject({ ticket });

    const worker = await stack.unit('echo-2');
    const lease = await worker.one();
    expect((await bodyOf(lease)).toString()).toBe('again');
    await worker.complete(lease, 'done');
    expect(await (await status(stack, ticket, as('client'), 'team.echo')).text()).toBe('done');
    const old = await fetch(`${stack.url}/v1/team.echo/requests/${dead}`, { headers: as('client') });
    expect(await old.json()).toMatchObject({ state: 'failed', redriven_as: ticket });
    expect((await page('')).dead_letters).toEqual([]);
  });

  test('by the bare id of its request too, with a body of any size', async () => {
    const body = 'x'.repeat(100_000);
    await die(body);
    const [letter] = (await page('')).dead_letters;
    expect((await ask(`/${letter?.request ?? ''}/redrive`, 'admin', 'POST')).status).toBe(202);
    expect((await bodyOf(await (await stack.unit('echo-2')).one())).toString()).toBe(body);
  });

  test('joins an equal request that lives by now', async () => {
    const dead = await die('twice');
    const living = await submit(stack, 'twice', as('client'), 'team.echo');
    const answer = await ask(`/${dead}/redrive`, 'admin', 'POST');
    expect(await answer.json()).toMatchObject({ ticket: living, outcome: 'joined' });
  });

  test('with all others of a filter goes in bounded calls', async () => {
    for (const body of ['1', '2', '3']) await die(body);
    await die('4', 'client', 'timeout');
    const first = (await (await redriveAll({ cause: 'handler', limit: 2 })).json()) as Record<string, unknown>;
    expect(first).toMatchObject({ more: true, redriven: [{ outcome: 'redriven' }, { outcome: 'redriven' }] });
    const second = (await (await redriveAll({ cause: 'handler', cursor: first['cursor'] })).json()) as object;
    expect(second).toMatchObject({ more: false, redriven: [{ tenant: 'team', outcome: 'redriven' }] });
    expect((await page('')).dead_letters.map(({ cause }) => cause.kind)).toEqual(['timeout']);
    expect((await stack.queue.demand('uid-echo')).queued).toBe(3);
  });

  test('goes by its tenant’s share, also when the queue has long forgotten the tenant', async () => {
    const dead = await die('a');
    const spy = vi.spyOn(stack.queue, 'redrive');
    await ask(`/${dead}/redrive`, 'admin', 'POST');
    expect(spy.mock.calls[0]?.[1]).toMatchObject([{ share: { weight: 1, maxInFlight: 3 } }]);
  });

  test('with all others must be meant: neither an empty body nor an empty filter takes them', async () => {
    await die('a');
    const empty = await ask('/redrive', 'admin', 'POST');
    expect([empty.status, await empty.json()]).toMatchObject([400, { field: 'body.all' }]);
    expect((await page('')).dead_letters).toHaveLength(1);
    expect(await (await redriveAll({ all: true })).json()).toMatchObject({ redriven: [{ outcome: 'redriven' }] });
  });

  test('is refused while the app takes nothing new', async () => {
    const dead = await die('late');
    stack.apps.set(testApp({ namespace: 'team', desiredState: 'Draining' }));
    expect(await problem(await ask(`/${dead}/redrive`, 'admin', 'POST'))).toEqual([409, 'app-draining']);
    expect(await problem(await redriveAll({ all: true }))).toEqual([409, 'app-draining']);
  });
});

describe('dead letters that are removed', () => {
  test('one by one are gone, and unknown afterwards', async () => {
    const [gone, stays] = [await die('a'), await die('b')];
    expect((await ask(`/${gone}`, 'admin', 'DELETE')).status).toBe(204);
    expect(await problem(await ask(`/${gone}`, 'admin', 'DELETE'))).toEqual([404, 'dead-letter-unknown']);
    expect(await problem(await ask(`/${gone}/redrive`, 'admin', 'POST'))).toEqual([404, 'dead-letter-unknown']);
    expect((await page('')).dead_letters.map(({ id }) => id)).toEqual([stays]);
  });

  test('by a filter are counted; an empty filter must say that it means all', async () => {
    for (const body of ['1', '2']) await die(body);
    await die('3', 'client', 'timeout');
    expect(await problem(await ask('', 'admin', 'DELETE'))).toEqual([400, 'bad-query']);
    expect(await (await ask('?cause=timeout', 'admin', 'DELETE')).json()).toEqual({ discarded: 1, more: false });
    expect(await (await ask('?all=true', 'admin', 'DELETE')).json()).toEqual({ discarded: 2, more: false });
    expect((await page('')).dead_letters).toEqual([]);
  });
});

describe('who may', () => {
  const CALLS = [
    ['list', '', 'GET', { client: 403, operator: 200, admin: 200, stranger: 404 }],
    ['redrive one', '/{id}/redrive', 'POST', { client: 403, operator: 403, stranger: 404, admin: 202 }],
    ['redrive many', '/redrive', 'POST', { client: 403, operator: 403, stranger: 404, admin: 200 }, { all: true }],
    ['remove one', '/{id}', 'DELETE', { client: 403, operator: 403, stranger: 404, admin: 204 }],
    ['remove many', '?all=true', 'DELETE', { client: 403, operator: 403, stranger: 404, admin: 200 }],
  ] as const;

  test.each(CALLS)('%s', async (_name, path, method, expected, body?: object) => {
    const dead = await die('x');
    for (const [who, code] of Object.entries(expected)) {
      const target = path.replace('{id}', dead);
      const answer = await (body === undefined ? ask(target, who as Who, method) : redriveAll(body, who as Who));
      expect([who, answer.status]).toEqual([who, code]);
    }
    expect((await fetch(url(path.replace('{id}', dead)), { method })).status).toBe(401);
  });

  test('of what is no dead letter nobody learns anything: tickets of others, of living requests, forged ones', async () => {
    const living = await submit(stack, 'lives', as('client'), 'team.echo');
    const forged = `${living.slice(0, -2)}${living.endsWith('AA') ? 'BB' : 'AA'}`;
    for (const name of [living, forged, 'req_x', '01890000-0000-7000-8000-000000000000', '%00']) {
      expect(await problem(await ask(`/${name}/redrive`, 'admin', 'POST'))).toEqual([404, 'dead-letter-unknown']);
    }
  });

  test('and what they did stands in the audit log, without bodies', async () => {
    const [one, two] = [await die('secret-1'), await die('secret-2')];
    await ask(`/${one}/redrive`, 'admin', 'POST');
    await redriveAll({ tenant: 'team' });
    await ask('?all=true', 'admin', 'DELETE');
    expect(audited.map(({ action, tenant, role, result }) => [action, tenant, role, result])).toEqual([
      ['dead-letter.redrive', 'team', 'admin', 'redriven'],
      ['dead-letter.redrive-all', 'team', 'admin', 'redriven'],
      ['dead-letter.purge', 'team', 'admin', 'discarded'],
    ]);
    expect(JSON.stringify(audited)).not.toContain('secret');
    expect(two).not.toBe(one);
  });

  test('by name: one letter with what it was, many with the id of each', async () => {
    const [one, , gone] = [await die('1'), await die('2'), await die('3'), await die('4')];
    const [first, second, third, fourth] = (await page('')).dead_letters.map(({ request }) => request);
    await ask(`/${one}/redrive`, 'admin', 'POST');
    await redriveAll({ all: true, limit: 1 });
    await ask(`/${gone}`, 'admin', 'DELETE');
    await ask('?all=true', 'admin', 'DELETE');
    const before = { state: 'failed', deadLetter: true, cause: 'handler' };
    expect(audited).toMatchObject([
      { object: { request: first }, before },
      { after: { redriven: 1, more: true, requests: [second] } },
      { object: { request: third }, before, after: { ...before, deadLetter: false } },
      { after: { discarded: 1, more: false, requests: [fourth] } },
    ]);
  });

  test.each(['redrive', 'discard'] as const)('and what a %s did before it failed does, too', async (call) => {
    await die('1');
    await die('2', 'client', 'timeout');
    await die('3');
    const [done, , unsure] = (await page('')).dead_letters.map(({ request }) => request);
    // Two letters are looked at first, of which one matches.
    const real = stack.queue[call].bind(stack.queue) as () => Promise<never>;
    const lost = new QueueError('unavailable', 'it went away');
    vi.spyOn(stack.queue, call).mockImplementationOnce(real).mockRejectedValueOnce(lost);
    const answer = await (call === 'redrive'
      ? redriveAll({ cause: 'handler', limit: 2 })
      : ask('?cause=handler&limit=2', 'admin', 'DELETE'));
    expect(await problem(answer)).toEqual([503, 'queue-unavailable']);
    const how = call === 'redrive' ? 'redriven' : 'discarded';
    expect(audited).toMatchObject([
      { result: 'queue-unavailable', after: { [how]: 1, more: true, requests: [done], unsure: [unsure] } },
    ]);
    expect(await stack.registry.metrics()).toMatch(new RegExp(`dead_letters_acted_total\\{how="${how}",[^}]*\\} 1\n`));
  });
});

describe('a filter that is not valid is refused by name', () => {
  test.each([
    ['?limit=0', 'query.limit'],
    ['?limit=101', 'query.limit'],
    ['?limit=x', 'query.limit'],
    ['?cause=released', 'query.cause'],
    ['?cause=input', 'query.cause'],
    ['?tenant=UPPER', 'query.tenant'],
    ['?since=yesterday', 'query.since'],
    ['?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z', 'query.until'],
    ['?cursor=invented', 'query.cursor'],
    ['?cursor=', 'query.cursor'],
    ['?limit=1&limit=2', 'query.limit'],
    ['?what=1', 'query.what'],
  ])('%s', async (query, field) => {
    const answer = await ask(query);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({
      type: 'urn:penstock:problem:bad-query',
      field,
      fix: expect.any(String),
    });
  });

  test.each<[unknown, string]>([
    [[], 'body'],
    [{ limit: '5' }, 'body.limit'],
    [{ limit: 1001 }, 'body.limit'],
    [{ tenant: 7 }, 'body.tenant'],
    [{}, 'body.all'],
    [{ limit: 5 }, 'body.all'],
    [{ all: false }, 'body.all'],
    [{ all: 'true', cause: 'lost' }, 'body.all'],
    [{ what: 1 }, 'body.what'],
    [{ since: '2026' }, 'body.since'],
  ])('%j', async (filter, field) => {
    const answer = await redriveAll(filter);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({
      type: 'urn:penstock:problem:bad-body',
      field,
      fix: expect.any(String),
    });
  });

  test('a cursor of another app is no cursor', async () => {
    for (const body of ['1', '2']) await die(body);
    const { cursor } = await page('?limit=1');
    stack.apps.set(testApp({ namespace: 'team', name: 'b', uid: 'uid-b' }));
    const elsewhere = `${stack.url}/v1/b/dead-letters?cursor=${cursor ?? ''}`;
    expect(await problem(await fetch(elsewhere, { headers: as('admin') }))).toEqual([400, 'bad-query']);
  });
});

test('the gauge counts letters by app, the counters what was done with them', async () => {
  const [dead] = [await die('a'), await die('b')];
  const gauge = /penstock_dead_letters\{app="team\.echo",[^}]*\} (\d+)\n/;
  expect(gauge.exec(await stack.registry.metrics())?.[1]).toBe('2');
  await ask(`/${dead}/redrive`, 'admin', 'POST');
  await ask('?all=true', 'admin', 'DELETE');
  const metrics = await stack.registry.metrics();
  expect(gauge.exec(metrics)?.[1]).toBe('0');
  expect(metrics).toMatch(/dead_letters_acted_total\{how="redriven",[^}]*\} 1\n/);
  expect(metrics).toMatch(/dead_letters_acted_total\{how="discarded",[^}]*\} 1\n/);
});
