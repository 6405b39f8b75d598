// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { once } from 'node:events';
import { Readable } from 'node:stream';
import { request } from 'undici';
import { afterEach, describe, expect, inject, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { openEmbeddedQueue } from '#gateway/queue/open.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { openS3Store } from '#gateway/store/open.ts';
import type { ObjectStore } from '#gateway/store/object-store.ts';
import { until } from '#test/until.ts';
import { post, problem, status, submit } from './gateway.client.ts';
import { bodyOf, orphanSweepLater, startStack, testApp } from './gateway.harness.ts';
import type { Stack, StackOptions } from './gateway.harness.ts';

let stack: Stack | undefined;
const cleanUp: (() => Promise<void>)[] = [];

async function start(options: StackOptions = {}): Promise<Stack> {
  stack = await startStack(options);
  return stack;
}

afterEach(async () => {
  await stack?.close();
  stack = undefined;
  for (const step of cleanUp.splice(0)) await step();
});

/** An embedded queue of which some calls are replaced. */
function queueWith(change: (queue: LeaseQueue) => Partial<LeaseQueue>): LeaseQueue {
  const queue = openEmbeddedQueue({ file: ':memory:', clock: systemClock, logger: silentLogger });
  cleanUp.push(() => queue.close());
  const changed = change(queue);
  return new Proxy(queue, {
    get: (target, name) => {
      const own: unknown = Reflect.get(changed, name);
      const value: unknown = own ?? Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

describe('a queue that cannot be reached', () => {
  test('is a 503 that promises nothing, keeps nothing, and says when to try again', async () => {
    let down = true;
    const s = await start({
      queue: queueWith((queue) => ({
        enqueue: async (requests, now) => {
          if (down) throw new Error('connect ECONNREFUSED');
          return await queue.enqueue(requests, now);
        },
      })),
    });
    // Too large for the record: it is stored before the queue is asked, and nobody knows whether the queue has heard of it.
    const body = 'x'.repeat(20_000);
    const refused = await post(`${s.url}/v1/echo/infer`, body);
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(await problem(refused)).toEqual([503, 'queue-unavailable']);
    down = false;
    await submit(s, body);
    expect((await s.store.list('v1/')).objects).toHaveLength(2);
    const parts = { queue: s.queue, store: s.store, apps: s.apps };
    expect(await orphanSweepLater(parts, 1_800_000).step()).toBe(0);
    expect(await orphanSweepLater(parts, 7_200_000).step()).toBe(1);
    const lease = await (await s.unit('echo-1')).one();
    expect((await bodyOf(lease)).toString()).toBe(body);
  });

  test('costs a client that waits for its result the wait, never the ticket of what was accepted', async () => {
    let down = true;
    const s = await start({
      queue: queueWith((queue) => ({
        outcome: async (app, id) => {
          if (down) throw new Error('connect ECONNREFUSED');
          return await queue.outcome(app, id);
        },
      })),
    });
    const accepted = await post(`${s.url}/v1/echo/infer`, 'kept', { prefer: 'wait=10' });
    const { ticket } = (await accepted.json()) as { ticket: string };
    expect(accepted.status).toBe(202);
    expect(await problem(await status(s, ticket))).toEqual([503, 'queue-unavailable']);
    down = false;
    expect((await status(s, ticket)).status).toBe(202);
  });

  test('makes the gateway not ready until it is back', async () => {
    let down = false;
    const s = await start({
      queue: queueWith(() => ({
        ping: async () => {
          if (down) throw new Error('connect ECONNREFUSED');
        },
      })),
    });
    expect(s.gateway.notReady()).toBeUndefined();
    down = true;
    await until(() => s.gateway.notReady()?.includes('ECONNREFUSED'), { what: 'readiness off' });
    down = false;
    await until(() => s.gateway.notReady() === undefined, { what: 'readiness on' });
  });
});

test('a replica that has not yet heard of a deletion says of purged requests what the others say', async () => {
  const s = await start();
  const ticket = await submit(s, 'gone with its app');
  while (!(await s.queue.purge('uid-echo', 100)).done);
  expect(await problem(await status(s, ticket))).toEqual([409, 'cancelled']);
});

test('a unit that hangs up while its leases are on their way loses them to the next one at once', async () => {
  const gate = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const s = await start({
    queue: queueWith((queue) => ({
      lease: async (request, now) => {
        if (request.unit !== 'echo-gone') return await queue.lease(request, now);
        const answer = await queue.lease(request, now);
        asked.resolve();
        await gate.promise;
        return answer;
      },
    })),
  });
  await submit(s, 'mine');
  const gone = await s.unit('echo-gone');
  const abort = new AbortController();
  const asking = gone.post('lease', { max: 1, wait_seconds: 30 }, abort.signal).catch(() => 'hung up');
  await asked.promise;
  expect((await s.queue.demand('uid-echo')).leased).toBe(1);
  abort.abort();
  expect(await asking).toBe('hung up');
  // The gateway has seen the end of the connection; an answer into a socket that only looks alive is TCP's to lose.
  const ended = /answers_total\{[^}]*route="\/internal\/v1\/lease"[^}]*\} 1\n/;
  await until(async () => ended.test(await s.registry.metrics()), { what: 'the end of the connection' });
  gate.resolve();
  const lease = await (await s.unit('echo-1')).one(10);
  expect([(await bodyOf(lease)).toString(), lease.attempt]).toEqual(['mine', 2]);
});

describe('an upload that breaks off', () => {
  test('leaves nothing in the store or the queue', async () => {
    const s = await start();
    const socket = connect(Number(new URL(s.url).port), '127.0.0.1');
    await once(socket, 'connect');
    socket.write(
      'POST /v1/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 1000000\r\n\r\n',
    );
    await new Promise((resolve) => socket.write(randomBytes(200_000), resolve));
    socket.destroy();
    await submit(s, 'the gateway serves on');
    await until(async () => (await s.store.list('v1/')).objects.length === 0, { what: 'an empty store' });
    expect((await s.queue.demand('uid-echo')).queued).toBe(1);
  });
});

test('large bodies and results go through S3 with presigned URLs, past the gateway', async () => {
  const { endpoint, region, bucket, accessKeyId, secretAccessKey } = inject('servers').s3;
  const store: ObjectStore = await openS3Store({
    endpoint,
    publicEndpoint: endpoint,
    region,
    bucket,
    accessKeyId,
    secretAccessKey,
    prefix: `gateway-${randomBytes(4).toString('hex')}/`,
    clock: systemClock,
  });
  cleanUp.push(() => store.close());
  const s = await start({ store });
  const [body, result] = [randomBytes(6 * 1024 * 1024), randomBytes(1024 * 1024)];
  const ticket = await submit(s, body, { 'content-type': 'application/x-large' });
  const worker = await s.unit('echo-1');
  const lease = await worker.one();
  expect(new URL(lease.body.url ?? '').origin).toBe(new URL(endpoint).origin);
  expect((await bodyOf(lease)).equals(body)).toBe(true);
  expect(await worker.upload(lease, result, 'video/x-result')).toBe('committed');
  const done = await status(s, ticket);
  expect(done.headers.get('content-type')).toBe('video/x-result');
  expect(Buffer.from(await done.arrayBuffer()).equals(result)).toBe(true);
  s.apps.set(testApp({ deleting: true }));
  const headers = { authorization: `Bearer ${await s.operatorToken()}` };
  const purge = (): Promise<Response> =>
    fetch(`${s.internal}/internal/v1/apps/uid-echo`, { method: 'DELETE', headers });
  await until(async () => (await purge()).status === 204, { what: 'the end of the purge' });
  expect((await store.list('v1/')).objects).toEqual([]);
});

test('a body of 192 MiB passes through in memory that stays flat', async () => {
  const s = await start({ apps: [testApp({ maxBytes: 1024 ** 3 })] });
  const [chunk, chunks] = [randomBytes(1024 * 1024), 192];
  let peak = 0;
  const before = process.memoryUsage().rss;
  async function* body(): AsyncGenerator<Uint8Array> {
    for (let i = 0; i < chunks; i++) {
      peak = Math.max(peak, process.memoryUsage().rss - before);
      yield chunk;
    }
  }
  const { body: answer, statusCode } = await request(`${s.url}/v1/echo/infer`, {
    method: 'POST',
    body: Readable.from(body()),
  });
  expect([statusCode, Object.keys((await answer.json()) as object)]).toEqual([202, ['ticket', 'retry_after']]);
  const lease = await (await s.unit('echo-1')).one();
  expect(lease.body.bytes).toBe(chunks * chunk.length);
  expect(peak).toBeLessThan(144 * 1024 * 1024);
});

describe('manners', () => {
  test('OPTIONS says what is allowed, HEAD answers like GET without a body', async () => {
    const s = await start();
    const options = await fetch(`${s.url}/v1/echo/infer`, { method: 'OPTIONS' });
    expect([options.status, options.headers.get('allow')]).toEqual([204, 'POST, OPTIONS']);
    const ticket = await submit(s, 'x');
    const head = await fetch(`${s.url}/v1/echo/status/${ticket}`, { method: 'HEAD' });
    expect([head.status, head.headers.get('penstock-state'), await head.text()]).toEqual([202, 'queued', '']);
    const records = await fetch(`${s.url}/v1/echo/requests/${ticket}`, { method: 'OPTIONS' });
    expect(records.headers.get('allow')).toBe('GET, DELETE, HEAD, OPTIONS');
  });

  test('every answer has a request id: the client’s when it is harmless, else one of ours', async () => {
    const s = await start();
    const id = async (given: string): Promise<string | null> =>
      (await fetch(`${s.url}/version`, { headers: { 'x-request-id': given } })).headers.get('x-request-id');
    expect(await id('abc-123')).toBe('abc-123');
    expect(await id('a b"<script>')).toMatch(/^[0-9a-f]{24}$/);
    expect(await id('x'.repeat(200))).toMatch(/^[0-9a-f]{24}$/);
  });

  test('errors have it too, in header and body: of a route, of an object, of what is no HTTP at all', async () => {
    const s = await start();
    const headers = { 'x-request-id': 'mine' };
    const refused = await fetch(`${s.url}/v1/nope/infer`, { method: 'POST', body: 'x', headers });
    expect(refused.headers.get('x-request-id')).toBe('mine');
    expect(await refused.json()).toMatchObject({ instance: 'urn:penstock:request:mine' });
    for (const base of [s.url, s.internal]) {
      expect((await fetch(`${base}/objects/none`, { headers })).headers.get('x-request-id')).toBe('mine');
      const socket = connect(Number(new URL(base).port), '127.0.0.1');
      let seen = '';
      socket.on('data', (chunk: Buffer) => (seen += chunk.toString()));
      socket.write('no HTTP\r\n\r\n');
      await until(() => seen.includes('urn:penstock:request:'), { what: 'the error' });
      const [, id = 'none'] = /\r\nx-request-id: ([0-9a-f]{24})\r\n/.exec(seen) ?? [];
      expect(seen).toContain(`urn:penstock:request:${id}`);
      socket.destroy();
    }
  });

  test('a refused upload of many megabytes still gets its answer', async () => {
    const s = await start({ apps: [testApp({ maxBytes: 1000 })] });
    const body = new Blob([randomBytes(900_000)]).stream();
    const response = await fetch(`${s.url}/v1/echo/infer`, { method: 'POST', body, duplex: 'half' });
    expect(await problem(response)).toEqual([413, 'body-too-large']);
  });

  test('several requests go over one connection, also after an error', async () => {
    const s = await start();
    const socket = connect(Number(new URL(s.url).port), '127.0.0.1');
    let seen = '';
    socket.on('data', (chunk: Buffer) => (seen += chunk.toString()));
    socket.write('POST /v1/nope/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody');
    await until(() => seen.includes('app-unknown'), { what: 'the error' });
    socket.write('GET /version HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => seen.includes('"name":"penstock"'), { what: 'the next answer' });
    socket.destroy();
    expect(seen.match(/HTTP\/1\.1 /g)).toHaveLength(2);
  });
});
