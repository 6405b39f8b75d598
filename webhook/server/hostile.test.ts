// SPDX-License-Identifier: Apache-2.0
// Clients that are no API server: what they do ends their own connection, and nothing else.
import '../certs/reflect.ts';
import { KeyObject, webcrypto } from 'node:crypto';
import { once } from 'node:events';
import { connect as connectHttp2, constants } from 'node:http2';
import type { ClientHttp2Session, ClientHttp2Stream } from 'node:http2';
import { connect } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { X509CertificateGenerator } from '@peculiar/x509';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { seededRandom } from '#base/random.ts';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Verdict } from '../admission/types.ts';
import { createWebhookMetrics } from '../metrics.ts';
import { Load } from './load.ts';
import type { UnderWay } from './load.ts';
import {
  MAX_BODY_BYTES,
  MAX_CONNECTIONS,
  MAX_HEADER_BYTES,
  MAX_IN_FLIGHT,
  MAX_STREAMS,
  MAX_WAITING,
} from './limits.ts';
import { createAdmissionServer } from './server.ts';
import type { AdmissionServer } from './server.ts';
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

  it('connections beyond the limit take the place of strangers, not of who has had answers', async () => {
    const session = http2Session(server);
    await callHttp2(session, { body });
    const sockets = Array.from({ length: MAX_CONNECTIONS + 20 }, () => connect(server.port, '127.0.0.1'));
    for (const socket of sockets) socket.on('error', () => {});
    await expect.poll(() => server.server.load().connections).toBe(MAX_CONNECTIONS);
    await expectService();
    expect(await callHttp2(session, { body })).toMatchObject({ status: 200 });
    for (const socket of sockets) socket.destroy();
    session.destroy();
    await expect.poll(() => server.server.load().connections).toBe(0);
  });
});

describe('what is under way', () => {
  const reviewOf = (connection: UnderWay['connection'], gone: object[] = []): UnderWay => {
    const review: UnderWay = { connection, deadlineAt: 0, expire: () => {}, yieldPlace: () => void gone.push(review) };
    return review;
  };
  const [one, other] = [{ address: 'a' }, { address: 'a' }];

  it('has a bound in reviews', () => {
    const load = new Load({ reviews: 1, bytes: 10 });
    const first = reviewOf(one);
    expect([load.enter(first), load.enter(reviewOf(one)), load.enter(reviewOf(other))]).toEqual([true, false, false]);
    load.leave(first);
    expect(load.enter(reviewOf(one))).toBe(true);
  });

  it('has a bound in bytes', () => {
    const load = new Load({ reviews: 1, bytes: 10 });
    const review = reviewOf(one);
    load.enter(review);
    expect([6, 5, 4].map((bytes) => load.hold(review, bytes))).toEqual([true, false, true]);
    load.leave(review);
    load.leave(review);
    load.enter(review);
    expect([load.hold(review, 10), load.hold(review, 1)]).toEqual([true, false]);
  });

  it('gives way to a connection that has less', () => {
    const load = new Load({ reviews: 3, bytes: 10 });
    const gone: object[] = [];
    const many = [reviewOf(one, gone), reviewOf(one, gone), reviewOf(one, gone)];
    for (const review of many) load.enter(review);
    expect(load.enter(reviewOf(one, gone))).toBe(false);
    expect([load.enter(reviewOf(other, gone)), gone]).toEqual([true, [many[0]]]);
    expect([load.enter(reviewOf(other, gone)), load.reviews]).toEqual([false, 3]);
  });

  it('gives its bytes to a connection that has less', () => {
    const load = new Load({ reviews: 9, bytes: 10 });
    const gone: object[] = [];
    const [large, later, small] = [reviewOf(one, gone), reviewOf(one, gone), reviewOf(other, gone)];
    for (const review of [large, later, small]) load.enter(review);
    expect([load.hold(large, 6), load.hold(later, 4)]).toEqual([true, true]);
    expect([load.hold(small, 3), gone]).toEqual([true, [large]]);
    expect([load.hold(small, 4), load.hold(later, 1)]).toEqual([false, true]);
  });
});

describe('a client that keeps', () => {
  const head = { ':method': 'POST', ':path': '/mutate/pods?timeout=30s', 'content-type': 'application/json' };
  const slow = (session: ClientHttp2Session): ClientHttp2Stream => {
    const stream = session.request(head);
    stream.on('error', () => {});
    stream.write('{');
    return stream;
  };

  it('its window shut has its streams closed: neither answers nor headers stay', { timeout: 20_000 }, async () => {
    const settings = { initialWindowSize: 0 };
    const session = connectHttp2(`https://127.0.0.1:${server.port}`, {
      ca: server.ca,
      servername: 'localhost',
      settings,
    });
    session.on('error', () => {});
    await once(session, 'remoteSettings');
    const codes: (number | undefined)[] = [];
    const closed = Array.from({ length: 200 }, (_, at) => {
      const stream = session.request(
        { ...head, ':path': at % 2 === 0 ? '/nope' : head[':path'] },
        { endStream: false },
      );
      stream.on('error', () => {});
      if (at % 2 === 1) stream.end(body);
      return new Promise<void>((resolve) => {
        stream.once('close', () => {
          codes.push(stream.rstCode);
          resolve();
        });
      });
    });
    await expectService();
    await Promise.all(closed);
    expect(new Set(codes)).toEqual(new Set([constants.NGHTTP2_CANCEL]));
    session.destroy();
  });

  it('all places busy with bodies that never end shuts out nobody else', { timeout: 20_000 }, async () => {
    const sessions = [http2Session(server), http2Session(server)];
    await Promise.all(sessions.map((session) => once(session, 'remoteSettings')));
    const streams = sessions.flatMap((session) => Array.from({ length: MAX_STREAMS }, () => slow(session)));
    const [first] = streams;
    const refused = once(first as ClientHttp2Stream, 'response') as Promise<[Record<string, unknown>]>;
    await expect.poll(() => server.server.load().reviews).toBe(MAX_IN_FLIGHT);
    await expectService();
    const [answer] = await refused;
    expect([answer[':status'], answer['retry-after']]).toEqual([503, undefined]);
    // Whatever time they state: a body is there with its headers, or soon.
    await expect.poll(() => server.server.load().reviews, { timeout: 5_000 }).toBe(0);
    for (const session of sessions) session.destroy();
  });

  it('more verdicts waiting than there are places for has the rest passed with a warning', async () => {
    const { promise, resolve } = Promise.withResolvers<Verdict>();
    await server.stop();
    server = await startTestServer({ mutatePods: () => promise });
    const session = http2Session(server);
    const answers = Array.from({ length: MAX_WAITING + 1 }, () => callHttp2(session, { body }));
    await expect.poll(() => server.server.load().reviews).toBe(MAX_WAITING);
    resolve({});
    const warned = (await Promise.all(answers)).filter(({ json }) => JSON.stringify(json).includes('too many'));
    expect(warned).toMatchObject([{ status: 200, json: { response: { allowed: true } } }]);
    session.destroy();
  });
});

describe('before there is a certificate', () => {
  it('nobody can connect, and an end comes at once', async () => {
    const registry = createRegistry('test', false);
    const waiting: AdmissionServer = createAdmissionServer({
      host: '127.0.0.1',
      port: 0,
      routes: new Map(),
      certificate: { current: () => undefined, onChange: () => () => {} },
      metrics: createWebhookMetrics(registry, () => waiting.load()),
      clock: systemClock,
      random: seededRandom(1),
      logger: silentLogger,
    });
    const starting = waiting.start();
    await setImmediate();
    expect(waiting.listening()).toBe(false);
    await waiting.drain(60_000);
    expect(await starting).toBeUndefined();
  });
});

describe('with CAs for clients', () => {
  it('only who has a certificate by one of them is let in', async () => {
    const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
    const made = await X509CertificateGenerator.createSelfSigned({
      name: 'CN=api-server',
      keys,
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    });
    const cert = made.toString('pem');
    const key = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' });
    await server.stop();
    server = await startTestServer({}, undefined, { clientCa: cert });
    const stranger = await rawConnection(server, ['h2']);
    const [refusal] = (await once(stranger, 'error', { signal: AbortSignal.timeout(5_000) })) as [{ code: string }];
    expect(refusal.code).toMatch(/CERTIFICATE_REQUIRED|ECONNRESET/);
    const url = `https://127.0.0.1:${server.port}`;
    const session = connectHttp2(url, { ca: server.ca, servername: 'localhost', cert, key });
    expect(await callHttp2(session, { body })).toMatchObject({ status: 200 });
    session.destroy();
  });
});
