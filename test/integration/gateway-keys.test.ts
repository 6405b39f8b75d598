// SPDX-License-Identifier: Apache-2.0
// Which posts are one request (DESIGN §3.2): every rule, over both queues.
import { hash, randomBytes, randomUUID } from 'node:crypto';
import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { openEmbeddedQueue, openRedisQueue } from '#gateway/queue/open.ts';
import { parseTenants } from '#gateway/auth/tenants.ts';
import { post, problem, status } from './gateway.client.ts';
import type { Headers } from './gateway.client.ts';
import { startStack, testApp } from './gateway.harness.ts';
import type { AppPatch, Stack, TestUnit } from './gateway.harness.ts';

const OPENERS: readonly [string, () => LeaseQueue | Promise<LeaseQueue>][] = [
  ['embedded', () => openEmbeddedQueue({ file: ':memory:', clock: systemClock, logger: silentLogger })],
  [
    'redis',
    () =>
      openRedisQueue({
        url: inject('servers').redis.url,
        prefix: `keys-${randomUUID()}`,
        clock: systemClock,
        logger: silentLogger,
      }),
  ],
];

const TENANTS = parseTenants({
  tenants: [
    { name: 'default', priorityCeiling: 10, apiKeys: [{ sha256: hash('sha256', 'key-1') }] },
    { name: 'second', apps: ['default.echo'], apiKeys: [{ sha256: hash('sha256', 'key-2') }] },
  ],
});

describe.each(OPENERS)('over the %s queue', (_driver, open) => {
  let s: Stack;
  let queue: LeaseQueue;

  beforeEach(async () => {
    queue = await open();
    s = await startStack({ queue, tenants: TENANTS, apps: [testApp({ maxAttempts: 1 })] });
  });

  afterEach(async () => {
    await s.close();
    await queue.close();
  });

  const send = (body: string | Uint8Array<ArrayBuffer>, headers: Headers = {}): Promise<Response> =>
    post(`${s.url}/v1/default.echo/infer`, body, { 'x-api-key': 'key-1', ...headers });
  const json = (value: unknown, headers: Headers = {}): Promise<Response> =>
    send(JSON.stringify(value), { 'content-type': 'application/json', ...headers });
  const ticketOf = (response: Response): string =>
    response.headers.get('penstock-ticket') ?? `none: ${response.status}`;
  const queued = async (): Promise<number> => (await queue.demand('uid-echo')).queued;
  const ask = (ticket: string): Promise<Response> => status(s, ticket, { 'x-api-key': 'key-1' }, 'default.echo');
  const change = (patch: AppPatch): void => s.apps.set(testApp({ maxAttempts: 1, ...patch }));

  /** Ways in which two posts are meant as one. */
  const WAYS: readonly [string, (body: string) => Promise<Response>][] = [
    ['the same content', (body) => send(body)],
    ['the same key', (body) => send(body, { 'idempotency-key': 'k' })],
    ['the same _rid', (body) => json({ body, _rid: 'k' })],
  ];

  describe.each(WAYS)('by %s', (_way, again) => {
    test('a repeat joins while the first is queued, leased and succeeded', async () => {
      const first = ticketOf(await again('x'));
      expect(ticketOf(await again('x'))).toBe(first);
      const worker = await s.unit('echo-1');
      const lease = await worker.one();
      expect(ticketOf(await again('x'))).toBe(first);
      await worker.complete(lease, 'done');
      const free = await again('x');
      expect([free.status, ticketOf(free), await free.text()]).toEqual([200, first, 'done']);
      expect([await queued(), (await worker.lease(1, 0)).leases]).toEqual([0, []]);
    });

    const ENDS: readonly [string, (worker: TestUnit, ticket: string) => Promise<unknown>][] = [
      ['failed', async (worker) => await worker.fail(await worker.one(), 'input', 'bad')],
      ['died', async (worker) => await worker.fail(await worker.one(), 'handler', 'broken')],
      [
        'was cancelled',
        (_worker, ticket) =>
          fetch(`${s.url}/v1/default.echo/requests/${ticket}`, { method: 'DELETE', headers: { 'x-api-key': 'key-1' } }),
      ],
    ];

    test.each(ENDS)('a repeat after the first %s starts a new one, and later repeats join that', async (_end, end) => {
      const first = ticketOf(await again('x'));
      await end(await s.unit('echo-1'), first);
      const second = ticketOf(await again('x'));
      expect(second).toMatch(/^req_/);
      expect(second).not.toBe(first);
      expect(ticketOf(await again('x'))).toBe(second);
      expect(await queued()).toBe(1);
      expect((await ask(first)).status).toBeGreaterThanOrEqual(400);
    });

    test('another tenant’s post and one to another revision are requests of their own', async () => {
      const first = ticketOf(await again('x'));
      const foreign = await send('x', { 'x-api-key': 'key-2', 'idempotency-key': 'k' });
      expect([foreign.status, ticketOf(foreign) === first]).toEqual([202, false]);
      change({ revision: 'rev2' });
      const next = ticketOf(await again('x'));
      expect([next === first, next === ticketOf(foreign)]).toEqual([false, false]);
      expect(ticketOf(await again('x'))).toBe(next);
    });

    test('64 posts at once are one request', async () => {
      const answers = await Promise.all(Array.from({ length: 64 }, () => again('x')));
      expect(answers.map((answer) => answer.status)).toEqual(Array(64).fill(202));
      expect(new Set(answers.map(ticketOf)).size).toBe(1);
      expect(await queued()).toBe(1);
    });
  });

  test('a request past its deadline expires and never runs, and a repeat starts a new one', async () => {
    const first = ticketOf(await send('x', { 'penstock-deadline': '+1' }));
    expect((await ask(first)).status).toBe(202);
    await queue.expire(new Map([['uid-echo', 'rev1']]), Date.now() + 2_000);
    const answer = await ask(first);
    expect(answer.headers.get('penstock-state')).toBe('expired');
    expect(await problem(answer)).toEqual([422, 'deadline-passed']);
    expect((await (await s.unit('echo-1')).lease(1, 0)).leases).toEqual([]);
    const second = ticketOf(await send('x'));
    expect([second === first, await queued()]).toEqual([false, 1]);
  });

  test('64 posts at once, in all codings and small and large, are two requests', async () => {
    const codings = [
      ['identity', (text: string) => text],
      ['gzip', gzipSync],
      ['deflate', deflateSync],
      ['zstd', zstdCompressSync],
    ] as const;
    const bodies = ['small', randomBytes(40_000).toString('hex')];
    const tickets = await Promise.all(
      Array.from({ length: 64 }, async (_, i) => {
        const [coding, pack] = codings[i % 4] ?? codings[0];
        const answer = await send(pack(bodies[i % 8 < 4 ? 0 : 1] ?? ''), { 'content-encoding': coding });
        if (answer.status !== 202) throw new Error(`${answer.status}: ${await answer.text()}`);
        return ticketOf(answer);
      }),
    );
    expect(new Set(tickets).size).toBe(2);
    expect(await queued()).toBe(2);
    expect((await s.store.list('v1/')).objects).toHaveLength(1);
  });

  test('of 64 posts with one key and other bodies at once one is taken, the others are refused', async () => {
    const answers = await Promise.all(
      Array.from({ length: 64 }, (_, i) => send(`body ${i}`, { 'idempotency-key': 'k' })),
    );
    const codes = answers.map((answer) => answer.status);
    expect([codes.filter((code) => code === 202).length, codes.filter((code) => code === 422).length]).toEqual([1, 63]);
    expect(await queued()).toBe(1);
  });

  test('a key means one body and one content type, as long as its request lives', async () => {
    await send('a', { 'idempotency-key': 'k' });
    expect(await problem(await send('b', { 'idempotency-key': 'k' }))).toEqual([422, 'key-reused']);
    expect(await problem(await send('a', { 'idempotency-key': 'k', 'content-type': 'text/x' }))).toEqual([
      422,
      'key-reused',
    ]);
    const worker = await s.unit('echo-1');
    await worker.complete(await worker.one(), 'done');
    expect(await problem(await send('b', { 'idempotency-key': 'k' }))).toEqual([422, 'key-reused']);
    await send('a', { 'idempotency-key': 'free' });
    await worker.fail(await worker.one(), 'input', 'bad');
    expect((await send('b', { 'idempotency-key': 'free' })).status).toBe(202);
  });

  test('a key and a content never join each other, nor does a key that looks like a digest', async () => {
    const first = ticketOf(await send('x'));
    const digest = hash('sha256', 'text/plain\0x');
    for (const key of ['x', digest, `c:${digest}`]) {
      expect(ticketOf(await send('x', { 'idempotency-key': key }))).not.toBe(first);
    }
    expect(await queued()).toBe(4);
  });

  test('header and _rid are one name space; a number is its digits; where both are, they agree or are refused', async () => {
    const first = ticketOf(await json({ _rid: 7 }));
    expect(ticketOf(await json({ _rid: 7 }, { 'idempotency-key': '"7"' }))).toBe(first);
    expect(await problem(await json({ _rid: '7' }))).toEqual([422, 'key-reused']);
    expect(await problem(await json({ _rid: 7 }, { 'idempotency-key': '8' }))).toEqual([400, 'rid-mismatch']);
    expect(await problem(await json({}, { 'idempotency-key': '7' }))).toEqual([422, 'key-reused']);
    expect(await queued()).toBe(1);
  });

  test('a key is free again when the record is swept', async () => {
    change({ retentionSeconds: 1 });
    const first = ticketOf(await send('a', { 'idempotency-key': 'k' }));
    const worker = await s.unit('echo-1');
    await worker.complete(await worker.one(), 'done');
    await queue.sweep(100, Date.now() + 2_000);
    const second = await send('b', { 'idempotency-key': 'k' });
    expect([second.status, ticketOf(second) === first]).toEqual([202, false]);
  });

  test('a repeat joins whatever it says of priority, deadline and cost: the first one’s hold', async () => {
    const first = ticketOf(await send('x', { 'penstock-priority': '3', 'penstock-cost': '2.5' }));
    const again = await send('x', { 'penstock-priority': '-7', 'penstock-cost': '9', 'penstock-deadline': '+60' });
    expect(ticketOf(again)).toBe(first);
    const record = await fetch(`${s.url}/v1/default.echo/requests/${first}`, { headers: { 'x-api-key': 'key-1' } });
    const seen = (await record.json()) as Record<string, unknown>;
    expect([seen['priority'], seen['cost_micros'], seen['deadline']]).toEqual([3, 2_500_000, undefined]);
  });

  test('a higher priority goes first, then the nearer deadline, then the earlier arrival', async () => {
    const order = ['plain', 'later', 'sooner', 'high'];
    await send('plain');
    await send('later', { 'penstock-deadline': '+600' });
    await send('sooner', { 'penstock-deadline': '+300' });
    await send('high', { 'penstock-priority': '10' });
    const { leases } = await (await s.unit('echo-1')).lease(4, 0);
    const bodies = leases.map((lease) => Buffer.from(lease.body.inline ?? '', 'base64').toString());
    expect(bodies).toEqual([order[3], order[2], order[1], order[0]]);
    expect(await problem(await send('too high', { 'penstock-priority': '11' }))).toEqual([400, 'bad-header']);
    expect(await problem(await send('x', { 'x-api-key': 'key-2', 'penstock-priority': '1' }))).toEqual([
      400,
      'bad-header',
    ]);
  });
});
