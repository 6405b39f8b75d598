// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';
import { request } from 'undici';
import { afterEach, describe, expect, test } from 'vitest';
import type { UploadUrlReply } from '#base/wire/broker.ts';
import { post, problem, status, submit } from './gateway.client.ts';
import type { Headers } from './gateway.client.ts';
import { bodyOf, held, startStack, testApp } from './gateway.harness.ts';
import type { Stack, StackOptions } from './gateway.harness.ts';

let stack: Stack | undefined;

async function start(options: StackOptions = {}): Promise<Stack> {
  stack = await startStack(options);
  return stack;
}

afterEach(async () => {
  await stack?.close();
  stack = undefined;
});

describe('one request', () => {
  test('is accepted, leased, completed and answered with the bytes and type that the worker stored', async () => {
    const s = await start();
    const accepted = await post(`${s.url}/v1/echo/infer`, 'hello', { 'x-request-id': 'mine-1' });
    expect(accepted.status).toBe(202);
    expect(accepted.headers.get('x-request-id')).toBe('mine-1');
    expect(accepted.headers.get('retry-after')).toBe('1');
    const { ticket, retry_after } = (await accepted.json()) as { ticket: string; retry_after: number };
    expect(ticket).toMatch(/^req_[A-Za-z0-9_-]{32}$/);
    expect(retry_after).toBe(1);
    expect(accepted.headers.get('location')).toBe(`/v1/echo/status/${ticket}`);

    const pending = await status(s, ticket);
    expect([pending.status, pending.headers.get('penstock-state')]).toEqual([202, 'queued']);

    const worker = await s.unit('echo-1');
    const lease = await worker.one();
    expect((await bodyOf(lease)).toString()).toBe('hello');
    expect(lease).toMatchObject({ attempt: 1, lane: 'online', tenant: 'default', timeout_seconds: 600 });
    expect((await status(s, ticket)).headers.get('penstock-state')).toBe('leased');
    expect(await worker.complete(lease, 'HELLO', 'text/x-loud; charset=utf-8')).toBe('committed');

    const done = await status(s, ticket, {}, 'default.echo');
    expect([done.status, done.headers.get('content-type'), await done.text()]).toEqual([
      200,
      'text/x-loud; charset=utf-8',
      'HELLO',
    ]);
    expect(done.headers.get('penstock-state')).toBe('succeeded');
  });

  test('that its client waits for is answered in one call, and says which preference was honoured', async () => {
    const s = await start();
    const answer = post(`${s.url}/v1/echo/infer`, 'now', { prefer: 'wait=20' });
    const worker = await s.unit('echo-1');
    const lease = await worker.one(20);
    await worker.complete(lease, 'NOW');
    const response = await answer;
    expect([response.status, response.headers.get('preference-applied'), await response.text()]).toEqual([
      200,
      'wait=20',
      'NOW',
    ]);
  });

  test('that nobody serves is a 202 when the wait is over, for infer and for status', async () => {
    const s = await start();
    const first = await post(`${s.url}/v1/echo/infer`, 'slow', { prefer: 'respond-async, wait=1' });
    expect([first.status, first.headers.get('preference-applied')]).toEqual([202, 'respond-async, wait=1']);
    const { ticket } = (await first.json()) as { ticket: string };
    expect((await status(s, ticket, { prefer: 'wait=1' })).status).toBe(202);
  });

  test('keeps an unusual content type and every byte, also none', async () => {
    const s = await start();
    const bytes = randomBytes(1000);
    await submit(s, bytes, { 'content-type': 'image/x-strange; a="b"' });
    await submit(s, '', { 'content-type': 'text/empty' });
    const worker = await s.unit('echo-1');
    const [first, second] = (await worker.lease(2, 5)).leases;
    expect(first && (await bodyOf(first))).toEqual(bytes);
    expect(first?.body.content_type).toBe('image/x-strange; a="b"');
    expect(second?.body).toEqual({ content_type: 'text/empty', bytes: 0 });
  });

  test('carries its traceparent to the worker and into the record, with its attempts', async () => {
    const s = await start();
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const ticket = await submit(s, 'traced', { traceparent });
    const worker = await s.unit('echo-1');
    const first = await worker.one();
    expect(first.traceparent).toBe(traceparent);
    expect(await worker.fail(first, 'handler', 'not today')).toBe('requeued');
    await worker.complete(await worker.one(), 'done');
    const view = (await (await fetch(`${s.url}/v1/echo/requests/${ticket}`)).json()) as Record<string, unknown>;
    expect(view).toMatchObject({ id: ticket, state: 'succeeded', traceparent, failures: 1 });
    expect(view['attempts']).toMatchObject([
      { attempt: 1, unit: 'echo-1', outcome: 'handler', message: 'not today' },
      { attempt: 2, unit: 'echo-1', outcome: 'succeeded' },
    ]);
  });
});

describe('large bodies', () => {
  test('go through the object store in both directions, unchanged', async () => {
    const s = await start();
    const body = randomBytes(3 * 1024 * 1024);
    const result = randomBytes(2 * 1024 * 1024);
    const ticket = await submit(s, body, { 'content-type': 'application/x-large' });
    const worker = await s.unit('echo-1');
    const lease = await worker.one();
    expect(lease.body).toMatchObject({ bytes: body.length, content_type: 'application/x-large' });
    expect(lease.body.inline).toBeUndefined();
    expect((await bodyOf(lease)).equals(body)).toBe(true);
    expect(await worker.upload(lease, result, 'video/x-result')).toBe('committed');
    const done = await status(s, ticket);
    expect(done.headers.get('content-type')).toBe('video/x-result');
    expect(Buffer.from(await done.arrayBuffer()).equals(result)).toBe(true);
  });

  test('over the limit get 413 whether they are declared or chunked, and leave nothing behind', async () => {
    const s = await start({ apps: [testApp({ maxBytes: 100_000 })] });
    const body = randomBytes(200_000);
    expect(await problem(await post(`${s.url}/v1/echo/infer`, body))).toEqual([413, 'body-too-large']);
    const stream = new Blob([body]).stream();
    const chunked = await fetch(`${s.url}/v1/echo/infer`, {
      method: 'POST',
      body: stream,
      duplex: 'half',
    });
    expect(await problem(chunked)).toEqual([413, 'body-too-large']);
    expect((await s.store.list('v1/')).objects).toEqual([]);
    expect((await s.queue.demand('uid-echo')).queued).toBe(0);
  });

  test('that repeat a request join it, and the second copy is removed', async () => {
    const s = await start();
    const body = randomBytes(50_000);
    const first = await submit(s, body);
    expect(await submit(s, body)).toBe(first);
    expect((await s.store.list('v1/')).objects).toHaveLength(1);
  });

  test('that a unit uploads have the size it asked for, and no other', async () => {
    const s = await start();
    await submit(s, 'x');
    const worker = await s.unit('echo-1');
    const lease = await worker.one();
    const call = { ...held(lease), content_type: 'text/plain', bytes: 20_000 };
    const { url, headers } = (await (await worker.post('upload-url', call)).json()) as UploadUrlReply;
    const put = (bytes: number): Promise<Response> => fetch(url, { method: 'PUT', headers, body: Buffer.alloc(bytes) });
    expect((await put(20_001)).status).toBe(403);
    expect((await put(50_000_000)).status).toBe(403);
    expect((await s.store.list('v1/')).objects).toEqual([]);
    expect((await put(20_000)).status).toBe(200);
  });

  test('named by a completion that was never uploaded are refused with the field', async () => {
    const s = await start();
    await submit(s, 'x');
    const worker = await s.unit('echo-1');
    const lease = await worker.one();
    const epoch = lease.lease_token;
    const result = { content_type: 'a/b', bytes: 70_000, name: `v1/uid-echo/results/${lease.id}/${epoch}` };
    const call = { results: [{ id: lease.id, lease_token: epoch, result, service_micros: 1 }] };
    expect(await problem(await worker.post('complete', call))).toEqual([422, 'upload-missing']);
    const other = { ...result, name: `v1/uid-echo/bodies/${lease.id}` };
    const forged = { results: [{ ...call.results[0], result: other }] };
    expect(await problem(await worker.post('complete', forged))).toEqual([400, 'bad-body']);
    expect(await worker.complete(lease, 'ok')).toBe('committed');
  });
});

describe('gzip', () => {
  test('bodies are stored as they came, small and large, and count by their inflated size', async () => {
    const s = await start({ apps: [testApp({ maxBytes: 300_000 })] });
    const small = gzipSync('{"a":1}');
    const large = gzipSync(randomBytes(200_000));
    const headers = { 'content-encoding': 'gzip', 'content-type': 'application/octet-stream' };
    await submit(s, small, headers);
    await submit(s, large, headers);
    const worker = await s.unit('echo-1');
    const { leases } = await worker.lease(2, 5);
    const bodies = await Promise.all(leases.map(bodyOf));
    expect(bodies[0]?.equals(small)).toBe(true);
    expect(bodies[1]?.equals(large)).toBe(true);
    expect(leases.map((lease) => lease.body.content_encoding)).toEqual(['gzip', 'gzip']);
  });

  test('bombs are refused by what they would become, in bounded memory', async () => {
    const s = await start({ apps: [testApp({ maxBytes: 1_000_000 })] });
    const bomb = gzipSync(Buffer.alloc(256 * 1024 * 1024));
    expect(bomb.length).toBeLessThan(1_000_000);
    const before = process.memoryUsage().rss;
    const response = await post(`${s.url}/v1/echo/infer`, bomb, { 'content-encoding': 'gzip' });
    expect(await problem(response)).toEqual([413, 'body-too-large']);
    expect(process.memoryUsage().rss - before).toBeLessThan(192 * 1024 * 1024);
  });

  test('a gzip body and the same body plain are one request', async () => {
    const s = await start();
    const first = await submit(s, 'the same');
    expect(await submit(s, gzipSync('the same'), { 'content-encoding': 'gzip' })).toBe(first);
  });

  test('results go out as they are to a client that takes gzip, inflated to any other', async () => {
    const s = await start();
    const ticket = await submit(s, 'zip me');
    const worker = await s.unit('echo-1');
    const lease = await worker.one();
    const bytes = gzipSync('a result');
    const result = {
      content_type: 'text/plain',
      content_encoding: 'gzip',
      bytes: bytes.length,
      inline: bytes.toString('base64'),
    };
    await worker.post('complete', {
      results: [{ id: lease.id, lease_token: lease.lease_token, result, service_micros: 1 }],
    });
    const plain = await status(s, ticket, { 'accept-encoding': 'gzip;q=0' });
    expect([plain.headers.get('content-encoding'), await plain.text()]).toEqual([null, 'a result']);
    const packed = await rawGet(`${s.url}/v1/echo/status/${ticket}`, { 'accept-encoding': 'br, gzip' });
    expect([packed.encoding, gunzipSync(packed.body).toString()]).toEqual(['gzip', 'a result']);
  });

  test('a small result that inflates to many MiB is streamed, and one that is no gzip is an error of its own', async () => {
    const s = await start();
    const worker = await s.unit('echo-1');
    const finish = async (bytes: Buffer): Promise<string> => {
      const ticket = await submit(s, randomBytes(8).toString('hex'), { 'content-type': 'text/plain' });
      const { id, lease_token } = await worker.one();
      const inline = bytes.toString('base64');
      const result = { content_type: 'text/plain', content_encoding: 'gzip', bytes: bytes.length, inline };
      await worker.post('complete', { results: [{ id, lease_token, result, service_micros: 1 }] });
      return ticket;
    };
    const large = Buffer.alloc(12 * 1024 * 1024, 'x');
    const streamed = await status(s, await finish(gzipSync(large)), { 'accept-encoding': 'identity' });
    expect([streamed.status, streamed.headers.get('content-length')]).toEqual([200, null]);
    expect(Buffer.from(await streamed.arrayBuffer()).equals(large)).toBe(true);
    const broken = await status(s, await finish(Buffer.from('no gzip')), { 'accept-encoding': 'identity' });
    expect(await problem(broken)).toEqual([500, 'handler-failed']);
  });
});

/** fetch inflates by itself; this does not. */
async function rawGet(url: string, headers: Headers): Promise<{ encoding: string | undefined; body: Buffer }> {
  const response = await request(url, { headers });
  const encoding = response.headers['content-encoding'];
  return { encoding: String(encoding), body: Buffer.from(await response.body.arrayBuffer()) };
}
