// SPDX-License-Identifier: Apache-2.0
// How the server ends, and how it ends single connections.
import { once } from 'node:events';
import { Agent, request } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Verdict } from '../admission/types.ts';
import { callHttp1, callHttp2, http2Session, podReview, rawConnection, startTestServer } from './testing.ts';
import type { TestServer } from './testing.ts';

const body = JSON.stringify(podReview());
const allowed = { status: 200, json: { response: { allowed: true } } };

let server: TestServer;
let answer: () => Promise<Verdict> | Verdict;
beforeEach(async () => {
  answer = () => ({});
  server = await startTestServer({ mutatePods: () => answer() });
});
afterEach(() => (server.server.listening() ? server.stop() : undefined));

/** One that never ends by itself. */
function heldReview(): () => void {
  const { promise, resolve } = Promise.withResolvers<Verdict>();
  answer = () => promise;
  return () => resolve({});
}

describe('an end', () => {
  it('lets HTTP/2 clients know first, and answers what they send until then', async () => {
    const session = http2Session(server);
    await callHttp2(session, { body });
    const goaways: number[] = [];
    session.on('goaway', (code, lastStream) => goaways.push(code, lastStream));
    const ending = server.server.drain(50, 400);
    expect(server.server.stopping()).toBe(true);
    // While it drains: as if nothing was.
    expect(await callHttp2(session, { body })).toMatchObject(allowed);
    const late = callHttp2(http2Session(server), { body });
    await once(session, 'goaway');
    expect(goaways).toEqual([0, 2 ** 31 - 1]);
    expect(await late).toMatchObject(allowed);
    await ending;
    await expect.poll(() => server.server.load()).toEqual({ reviews: 0, connections: 0 });
  });

  it('asks HTTP/1.1 clients to go elsewhere with their next answer', async () => {
    const agent = new Agent({ keepAlive: true });
    const send = async (): Promise<IncomingMessage> => {
      const headers = { 'content-type': 'application/json' };
      const { port, ca } = server;
      const call = { port, ca, host: '127.0.0.1', servername: 'localhost', path: '/mutate/pods', headers };
      const req = request({ ...call, method: 'POST', agent });
      req.end(body);
      const [response] = (await once(req, 'response')) as [IncomingMessage];
      response.resume();
      await once(response, 'end');
      return response;
    };
    expect((await send()).headers.connection).toBe('keep-alive');
    const ending = server.server.drain(300, 0);
    expect((await send()).headers.connection).toBe('close');
    await ending;
    agent.destroy();
  });

  it('waits for a review that is under way', async () => {
    const finish = heldReview();
    const session = http2Session(server);
    const pending = callHttp2(session, { body });
    await expect.poll(() => server.server.load().reviews).toBe(1);
    const ending = server.server.drain(0, 0);
    await expect.poll(() => server.server.listening()).toBe(false);
    finish();
    expect(await pending).toMatchObject(allowed);
    await ending;
  });

  it('does not wait for idle connections, whatever they speak', async () => {
    const http1 = await rawConnection(server);
    const silent = await rawConnection(server, ['h2']);
    http1.resume();
    silent.resume();
    await expect.poll(() => server.server.load().connections).toBe(2);
    const before = performance.now();
    await server.server.drain(0, 0);
    expect(performance.now() - before).toBeLessThan(7_000);
    await expect.poll(() => server.server.load().connections).toBe(0);
  });
});

describe('an HTTP/2 connection', () => {
  it('that has lived for long is asked to end, and everything on it is answered', async () => {
    await server.stop();
    server = await startTestServer({}, undefined, { maxAgeMs: 300 });
    const session = http2Session(server);
    const told = once(session, 'goaway');
    const answers: unknown[] = [];
    while (!session.closed && !session.destroyed)
      answers.push(await callHttp2(session, { body }).catch((err: unknown) => err));
    await told;
    expect(answers.length).toBeGreaterThan(1);
    for (const one of answers.slice(0, -1)) expect(one).toMatchObject(allowed);
    expect(await callHttp1(server, { body })).toMatchObject(allowed);
  });
});
