// SPDX-License-Identifier: Apache-2.0
// Clients that are no API server: what they do ends their own connection, and nothing else.
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Load } from './load.ts';
import { MAX_BODY_BYTES, MAX_CONNECTIONS, MAX_HEADER_BYTES } from './limits.ts';
import { callHttp1, callHttp2, http2Session, podReview, rawConnection, startTestServer } from './testing.ts';
import type { TestServer } from './testing.ts';

const body = JSON.stringify(podReview());
const HEAD = 'POST /mutate/pods?timeout=400ms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n';

let server: TestServer;
beforeEach(async () => {
  server = await startTestServer();
});
afterEach(() => server.stop());

/** Everything that comes back until the server closes. */
async function answerTo(text: string | Buffer): Promise<string> {
  const socket = await rawConnection(server);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  socket.write(text);
  await once(socket, 'close');
  return Buffer.concat(chunks).toString();
}

async function expectService(): Promise<void> {
  expect(await callHttp1(server, { body })).toMatchObject({ status: 200, json: { response: { allowed: true } } });
}

describe('HTTP/1.1', () => {
  it.each([
    [
      'bytes that are no HTTP',
      Buffer.from([1, 2, 3, 255, 13, 10, 13, 10]),
      /^HTTP\/1\.1 400 [^]*"reason":"BadRequest"/,
    ],
    ['two lengths', `${HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\n`, /^HTTP\/1\.1 400 /],
    ['a length beside chunks', `${HEAD}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n`, /^HTTP\/1\.1 400 /],
    ['a negative length', `${HEAD}Content-Length: -1\r\n\r\n`, /^HTTP\/1\.1 400 /],
    ['chunks that are none', `${HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\n`, /^HTTP\/1\.1 400 /],
    [
      'headers without end',
      `${HEAD}X: ${'x'.repeat(MAX_HEADER_BYTES)}\r\n\r\n`,
      /^HTTP\/1\.1 431 [^]*headers are too large/,
    ],
    [
      'a body that stops half way',
      `${HEAD}Content-Length: ${body.length}\r\n\r\n${body.slice(0, 100)}`,
      /^HTTP\/1\.1 408 /,
    ],
    ['a body that never begins', `${HEAD}Content-Length: 10\r\n\r\n`, /^HTTP\/1\.1 408 [^]*"reason":"Timeout"/],
    ['a length that is beyond the limit', `${HEAD}Content-Length: ${MAX_BODY_BYTES + 1}\r\n\r\n`, /^HTTP\/1\.1 413 /],
  ])('%s', async (_what, text, answer) => {
    expect(await answerTo(text)).toMatch(answer);
    await expectService();
    expect(server.server.load().reviews).toBe(0);
  });

  it('a connection that sends headers by the byte is closed', async () => {
    const socket = await rawConnection(server);
    const timer = setInterval(() => socket.write('a'), 100);
    socket.write('POST /mutate/pods HTTP/1.1\r\nX: ');
    const [chunk] = (await once(socket, 'data')) as [Buffer];
    expect(chunk.toString()).toMatch(/^HTTP\/1\.1 408 /);
    clearInterval(timer);
    await once(socket, 'close');
  });

  it('a client that leaves in the middle of its body is forgotten', async () => {
    const socket = await rawConnection(server);
    socket.write(`${HEAD}Content-Length: 1000\r\n\r\n{`);
    await expect.poll(() => server.server.load().reviews).toBe(1);
    socket.destroy();
    await expect.poll(() => server.server.load()).toEqual({ reviews: 0, connections: 0 });
  });
});

describe('HTTP/2', () => {
  it('a stream that is reset in the middle of its body is forgotten', async () => {
    const session = http2Session(server);
    const stream = session.request({ ':method': 'POST', ':path': '/mutate/pods', 'content-type': 'application/json' });
    stream.on('error', () => {});
    stream.write('{');
    await expect.poll(() => server.server.load().reviews).toBe(1);
    stream.close(8);
    await expect.poll(() => server.server.load().reviews).toBe(0);
    expect(await callHttp2(session, { body })).toMatchObject({ status: 200 });
    session.destroy();
  });

  it('a stream whose body stops half way is answered when its time is up', async () => {
    const session = http2Session(server);
    const head = { ':method': 'POST', ':path': '/mutate/pods?timeout=400ms', 'content-type': 'application/json' };
    const stream = session.request(head);
    stream.on('error', () => {});
    stream.write('{');
    const [headers] = (await once(stream, 'response')) as [Record<string, unknown>];
    expect(headers[':status']).toBe(408);
    expect(await callHttp2(session, { body })).toMatchObject({ status: 200 });
    session.destroy();
  });

  it('streams that are reset as they are opened are forgotten, whatever they expected', async () => {
    const session = http2Session(server);
    await once(session, 'connect');
    const head = { ':method': 'POST', ':path': '/mutate/pods', 'content-type': 'application/json' };
    const closed = Array.from({ length: 200 }, (_, at) => {
      const stream = session.request({ ...head, ...(at % 2 === 0 ? { expect: '100-continue' } : {}) });
      stream.on('error', () => {});
      stream.close(8);
      return new Promise((resolve) => void stream.once('close', resolve));
    });
    await Promise.all(closed);
    await expect.poll(() => server.server.load().reviews).toBe(0);
    await expectService();
    session.destroy();
  });

  it('a client that waits to be told to go on is told so', async () => {
    const session = http2Session(server);
    const head = {
      ':method': 'POST',
      ':path': '/mutate/pods',
      'content-type': 'application/json',
      expect: '100-continue',
    };
    const stream = session.request(head);
    await once(stream, 'continue');
    stream.end(body);
    const [headers] = (await once(stream, 'response')) as [Record<string, unknown>];
    expect(headers[':status']).toBe(200);
    stream.resume();
    session.close();
  });

  it('a body shorter than its stated length is no review', async () => {
    const session = http2Session(server);
    const head = {
      ':method': 'POST',
      ':path': '/mutate/pods',
      'content-type': 'application/json',
      'content-length': '9999',
    };
    const stream = session.request(head);
    stream.on('error', () => {});
    stream.end(body);
    await new Promise((resolve) => void stream.once('close', resolve));
    await expect.poll(() => server.server.load().reviews).toBe(0);
    await expectService();
  });

  it('frames that are none end the connection', async () => {
    const socket = await rawConnection(server, ['h2']);
    socket.write(`PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${'\u0007'.repeat(500)}`);
    socket.resume();
    await once(socket, 'close');
    expect(server.server.load().connections).toBe(0);
    await expectService();
  });
});

describe('no TLS', () => {
  it.each([
    ['plain HTTP', 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['noise', Buffer.from('\u0016\u0003\u0001nonsense')],
  ])('%s is closed without a word', async (_what, text) => {
    const socket = connect(server.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write(text);
    const heard: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => heard.push(chunk));
    await once(socket, 'close');
    expect(Buffer.concat(heard).includes('HTTP')).toBe(false);
    await expectService();
  });

  it('connections beyond the limit are closed, and those before it go on', async () => {
    const sockets = Array.from({ length: MAX_CONNECTIONS + 20 }, () => connect(server.port, '127.0.0.1'));
    for (const socket of sockets) socket.on('error', () => {});
    await expect.poll(() => server.server.load().connections).toBe(MAX_CONNECTIONS);
    for (const socket of sockets) socket.destroy();
    await expect.poll(() => server.server.load().connections).toBe(0);
    await expectService();
  });
});

describe('what is under way', () => {
  const review = { deadlineAt: 0, expire: () => {} };
  it('has a bound in reviews', () => {
    const load = new Load({ reviews: 1, bytes: 10 });
    expect(load.enter(review)).toBe(true);
    expect(load.enter({ ...review })).toBe(false);
    load.leave(review, 0);
    expect(load.enter({ ...review })).toBe(true);
  });

  it('has a bound in bytes', () => {
    const load = new Load({ reviews: 1, bytes: 10 });
    expect([load.hold(6), load.hold(5), load.hold(4)]).toEqual([true, false, true]);
    load.leave(review, 6);
    expect(load.hold(6)).toBe(true);
  });
});
