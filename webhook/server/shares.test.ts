// SPDX-License-Identifier: Apache-2.0
// Whoever fills the server from one address shuts out nobody at another.
import { once } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import type { ClientHttp2Session } from 'node:http2';
import { afterEach, describe, expect, it } from 'vitest';
import type { AdmissionHandler, Verdict } from '../admission/types.ts';
import { MAX_CONNECTIONS, MAX_WAITING } from './limits.ts';
import { Load } from './load.ts';
import type { UnderWay } from './load.ts';
import { callHttp1, callHttp2, http2Session, podReview, startTestServer } from './testing.ts';
import type { TestServer } from './testing.ts';

const body = JSON.stringify(podReview());
const HEAD = { ':method': 'POST', ':path': '/mutate/pods?timeout=30s', 'content-type': 'application/json' };
/** Of the stranger; the proper client has 127.0.0.1. */
const STRANGER = '127.0.0.2';
const PASSES = { status: 200, json: { response: { uid: 'c0ffee', allowed: true } } };

const sessions: ClientHttp2Session[] = [];
let server: TestServer;
afterEach(async () => {
  for (const session of sessions.splice(0)) session.destroy();
  await server.stop();
});

function open(localAddress?: string): ClientHttp2Session {
  const session = http2Session(server, localAddress);
  sessions.push(session);
  return session;
}

/** It has been let in, or sent away. */
async function greeted(session: ClientHttp2Session): Promise<void> {
  const settled = [once(session, 'remoteSettings'), once(session, 'close')];
  await Promise.race(settled).catch(() => {});
}

/** Has a call under way from now on, the body of which never ends. */
function keepBusy(session: ClientHttp2Session): void {
  if (session.destroyed || session.closed) return;
  const stream = session.request(HEAD);
  stream.on('error', () => {});
  stream.once('close', () => keepBusy(session));
  stream.resume();
  stream.write('{');
}

describe('connections of one address, all known and busy,', () => {
  it('give way to those of another, old and new', { timeout: 30_000 }, async () => {
    server = await startTestServer();
    const old = open();
    expect(await callHttp2(old, { body })).toMatchObject(PASSES);
    const theirs = Array.from({ length: MAX_CONNECTIONS - 1 }, () => open(STRANGER));
    for (const session of theirs) {
      await callHttp2(session, { body });
      keepBusy(session);
    }
    await expect.poll(() => server.server.load().connections).toBe(MAX_CONNECTIONS);
    for (let at = 0; at < 15; at++) expect(await callHttp1(server, { body })).toMatchObject(PASSES);
    const fresh = open();
    expect(await callHttp2(fresh, { body })).toMatchObject(PASSES);
    // More of theirs are at their own expense.
    const more = Array.from({ length: 20 }, () => open(STRANGER));
    await Promise.all(more.map(greeted));
    for (const session of [old, fresh]) expect(await callHttp2(session, { body })).toMatchObject(PASSES);
    expect([old.destroyed, fresh.destroyed]).toEqual([false, false]);
  });

  it('and waiting for a verdict leave room for reviews of another', { timeout: 30_000 }, async () => {
    const { promise, resolve } = Promise.withResolvers<Verdict>();
    const mutatePods: AdmissionHandler = ({ namespace }) =>
      namespace === 'team' ? setImmediate({ warnings: ['looked at'] }) : promise;
    server = await startTestServer({ mutatePods });
    const stuck = JSON.stringify(podReview({ namespace: 'stuck' }));
    const theirs = Array.from({ length: MAX_WAITING }, () => callHttp2(open(STRANGER), { body: stuck }));
    await expect.poll(() => server.server.load().reviews).toBe(MAX_WAITING);
    const mine = open();
    for (let at = 0; at < 5; at++) {
      const answer = await callHttp2(mine, { body });
      expect(answer).toMatchObject({ json: { response: { warnings: ['looked at'] } } });
    }
    resolve({});
    const passed = (await Promise.all(theirs)).filter(({ json }) => JSON.stringify(json).includes('too many'));
    expect(passed).toHaveLength(1);
  });
});

describe('what is under way from one address', () => {
  const reviewOf = (address: string, gone: object[], connection = { address }): UnderWay => {
    const review: UnderWay = { connection, deadlineAt: 0, expire: () => {}, yieldPlace: () => void gone.push(review) };
    return review;
  };

  it('by many connections gives way to another address, that with most first', () => {
    const load = new Load({ reviews: 4, bytes: 10 });
    const gone: object[] = [];
    const two = { address: 'a' };
    const theirs = [reviewOf('a', gone), reviewOf('a', gone, two), reviewOf('a', gone, two), reviewOf('a', gone)];
    for (const review of theirs) load.enter(review);
    expect([load.enter(reviewOf('b', gone)), gone]).toEqual([true, [theirs[1]]]);
    expect([load.enter(reviewOf('b', gone)), gone.length]).toEqual([true, 2]);
    expect([load.enter(reviewOf('b', gone)), load.reviews]).toEqual([false, 4]);
  });

  it('gives its bytes likewise', () => {
    const load = new Load({ reviews: 9, bytes: 10 });
    const gone: object[] = [];
    const theirs = [reviewOf('a', gone), reviewOf('a', gone), reviewOf('a', gone)];
    for (const review of theirs) {
      load.enter(review);
      load.hold(review, 3);
    }
    const small = reviewOf('b', gone);
    load.enter(small);
    expect([load.hold(small, 4), gone]).toEqual([true, [theirs[0]]]);
    expect([1, 3, 2].map((bytes) => load.hold(small, bytes))).toEqual([true, false, true]);
  });
});
