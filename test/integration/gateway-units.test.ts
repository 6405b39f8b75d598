// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, test } from 'vitest';
import { until } from '#test/until.ts';
import { post, problem, status, submit, untilWaiting } from './gateway.client.ts';
import { bodyOf, startStack, testApp } from './gateway.harness.ts';
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

describe('apps', () => {
  test('that are unknown are 404 before anything is stored', async () => {
    const s = await start();
    expect(await problem(await post(`${s.url}/v1/nope/infer`, 'x'))).toEqual([404, 'app-unknown']);
    expect(await problem(await post(`${s.url}/v1/other.echo/infer`, 'x'))).toEqual([404, 'app-unknown']);
    expect((await s.store.list('v1/')).objects).toEqual([]);
  });

  test('that drain refuse what is new, finish what is queued and send their units away', async () => {
    const s = await start();
    const ticket = await submit(s, 'before');
    s.apps.set(testApp({ desiredState: 'Draining', minUnits: 1 }));
    expect(await problem(await post(`${s.url}/v1/echo/infer`, 'after'))).toEqual([409, 'app-draining']);
    const worker = await s.unit('echo-1');
    await worker.complete(await worker.one(), 'done');
    expect((await status(s, ticket)).status).toBe(200);
    expect(await worker.lease(1, 20)).toEqual({ leases: [], verdict: 'leave' });
  });

  test('that are paused accept requests, and a unit that waits is told to leave', async () => {
    const s = await start();
    const worker = await s.unit('echo-1');
    const waiting = worker.lease(1, 30);
    await untilWaiting(s, 'units', 1);
    s.apps.set(testApp({ desiredState: 'Paused' }));
    expect(await waiting).toEqual({ leases: [], verdict: 'leave' });
    await submit(s, 'kept');
    expect((await s.queue.demand('uid-echo')).queued).toBe(1);
  });
});

test('a gateway that has not yet heard of an app sends none of its units away; the queue does, once the app is purged', async () => {
  const s = await start();
  const early = await s.unit('new-1', { app: 'uid-new' });
  expect(await early.lease(1)).toEqual({ leases: [], verdict: 'stay' });
  s.apps.set(testApp({ uid: 'uid-new', name: 'new' }));
  await post(`${s.url}/v1/new/infer`, 'x');
  expect((await bodyOf(await early.one())).toString()).toBe('x');
  s.apps.remove('uid-echo');
  const late = await s.unit('echo-1');
  await s.queue.purge('uid-echo', 10);
  expect((await late.post('lease', { max: 1, wait_seconds: 0 })).status).toBe(401);
});

describe('units', () => {
  test('that wait are woken by a request', async () => {
    const s = await start();
    const worker = await s.unit('echo-1');
    const waiting = worker.one(30);
    await untilWaiting(s, 'units', 1);
    const began = performance.now();
    await submit(s, 'wake up');
    expect((await bodyOf(await waiting)).toString()).toBe('wake up');
    // Below the 5 s re-check: it was the wake-up, not the fallback.
    expect(performance.now() - began).toBeLessThan(4_000);
  });

  test('that wait in numbers share what comes, one request each', async () => {
    const s = await start();
    const workers = await Promise.all(Array.from({ length: 5 }, (_, i) => s.unit(`echo-${i}`)));
    const waiting = workers.map((worker) => worker.one(30));
    await untilWaiting(s, 'units', 5);
    await Promise.all(Array.from({ length: 5 }, (_, i) => submit(s, `r${i}`)));
    const bodies = await Promise.all(
      (await Promise.all(waiting)).map(async (lease) => (await bodyOf(lease)).toString()),
    );
    expect(bodies.toSorted()).toEqual(['r0', 'r1', 'r2', 'r3', 'r4']);
  });

  test.each(['complete', 'fail', 'release'] as const)(
    'that end their last request by %s linger from then on, although they asked for more before',
    async (how) => {
      const s = await start({ apps: [testApp({ lingerSeconds: 1, maxAttempts: 1 })] });
      await submit(s, 'last');
      const worker = await s.unit('echo-1');
      const lease = await worker.one();
      const waiting = worker.lease(1, 30);
      await untilWaiting(s, 'units', 1);
      if (how === 'release') {
        // Paused: what is given back must not come again at once.
        s.apps.set(testApp({ lingerSeconds: 1, desiredState: 'Paused' }));
        await untilWaiting(s, 'units', 1);
        await worker.release(lease);
      } else if (how === 'fail') await worker.fail(lease, 'handler', 'broken');
      else await worker.complete(lease, 'done');
      const settledAt = performance.now();
      expect(await waiting).toEqual({ leases: [], verdict: 'leave' });
      // Well below the 5 s after which every waiting call asks again anyway.
      expect(performance.now() - settledAt).toBeLessThan(4_500);
    },
  );

  test('that hang up while they wait take nothing with them', async () => {
    const s = await start();
    const gone = await s.unit('echo-gone');
    const abort = new AbortController();
    const waiting = gone.post('lease', { max: 1, wait_seconds: 30 }, abort.signal).catch(() => 'hung up');
    await untilWaiting(s, 'units', 1);
    abort.abort();
    expect(await waiting).toBe('hung up');
    await submit(s, 'for the living');
    expect((await bodyOf(await (await s.unit('echo-1')).one())).toString()).toBe('for the living');
  });

  test('give leases back in order, with no attempt charged', async () => {
    const s = await start();
    await submit(s, 'first');
    await submit(s, 'second');
    const worker = await s.unit('echo-1');
    const lease = await worker.one();
    expect(await worker.release(lease)).toMatchObject({ leases: [{ outcome: 'requeued' }] });
    const again = await worker.one();
    expect([again.id, again.attempt]).toEqual([lease.id, 2]);
    expect(await worker.fail(lease, 'handler', 'stale')).toBe('lost');
  });

  test('are retired only when they hold nothing; then every call of theirs is refused', async () => {
    const s = await start();
    await submit(s, 'busy');
    const worker = await s.unit('echo-1');
    const lease = await worker.one();
    const authorization = `Bearer ${await s.operatorToken()}`;
    const retire = (): Promise<Response> =>
      fetch(`${s.internal}/internal/v1/units/echo-1/retire`, {
        method: 'POST',
        headers: { authorization, 'content-type': 'application/json' },
        body: JSON.stringify({ app: 'uid-echo' }),
      });
    expect(await problem(await retire())).toEqual([409, 'unit-busy']);
    await worker.complete(lease, 'done');
    expect((await retire()).status).toBe(200);
    expect(await problem(await worker.post('lease', { max: 1, wait_seconds: 0 }))).toEqual([401, 'unit-retired']);
    await expect(s.unit('echo-1')).rejects.toThrow(/unit-retired/);
  });
});

describe('the operator', () => {
  test('sees the demand, and hears within a second of the first request of an empty app', async () => {
    const s = await start();
    const headers = { authorization: `Bearer ${await s.operatorToken()}` };
    const abort = new AbortController();
    const stream = await fetch(`${s.internal}/internal/v1/demand/stream`, { headers, signal: abort.signal });
    expect(stream.headers.get('content-type')).toBe('text/event-stream');
    const reader = stream.body?.pipeThrough(new TextDecoderStream()).getReader();
    let seen = '';
    const heard = (async () => {
      while (!seen.includes('event: wake')) seen += (await reader?.read())?.value ?? '';
      return performance.now();
    })();
    const began = performance.now();
    await submit(s, 'first');
    expect((await heard) - began).toBeLessThan(4_000);
    expect(seen).toContain('data: {"app":"uid-echo"}');
    abort.abort();
    const demand = await fetch(`${s.internal}/internal/v1/demand`, { headers });
    expect(await demand.json()).toMatchObject({
      apps: [
        { uid: 'uid-echo', name: 'echo', namespace: 'default', revision: 'rev1', queued: 1, leased: 0, units: [] },
      ],
    });
  });

  test('purges an app in steps: queued requests are cancelled, leased ones finish, then nothing is left', async () => {
    const s = await start();
    await submit(s, randomBytes(40_000));
    const worker = await s.unit('echo-1');
    const lease = await worker.one();
    const queued = await submit(s, randomBytes(30_000));
    s.apps.set(testApp({ deleting: true }));
    expect(await problem(await post(`${s.url}/v1/echo/infer`, 'late'))).toEqual([409, 'app-deleting']);
    const headers = { authorization: `Bearer ${await s.operatorToken()}` };
    const purge = (): Promise<Response> =>
      fetch(`${s.internal}/internal/v1/apps/uid-echo`, { method: 'DELETE', headers });
    expect((await purge()).status).toBe(202);
    const ended = await status(s, queued);
    expect(await problem(ended)).toEqual([409, 'cancelled']);
    expect(await worker.complete(lease, 'finished')).toBe('committed');
    await until(async () => (await purge()).status === 204, { what: 'the end of the purge' });
    expect((await s.store.list('v1/')).objects).toEqual([]);
    expect((await purge()).status).toBe(204);
  });
});

test('a gateway that stops answers who waits, and what it accepted is there for the next one', async () => {
  const s = await start();
  const ticket = await submit(s, 'kept');
  const worker = await s.unit('echo-1');
  await worker.one();
  const client = status(s, ticket, { prefer: 'wait=60' });
  const unit = worker.lease(1, 30);
  await untilWaiting(s, 'units', 1);
  await untilWaiting(s, 'clients', 1);
  await s.gateway.stop();
  expect(s.gateway.notReady()).toBe('stopping');
  expect((await client).status).toBe(202);
  expect(await unit).toEqual({ leases: [], verdict: 'stay' });
  expect((await s.queue.demand('uid-echo')).leased).toBe(1);
});

test('dead letters are a metric, from 0 on, by whichever budget they came', async () => {
  const s = await start({ apps: [testApp({ maxAttempts: 1 })] });
  const count = async (): Promise<string | undefined> =>
    /penstock_gateway_dead_letters_total(?:\{[^}]*\})? (\d+)/.exec(await s.registry.metrics())?.[1];
  expect(await count()).toBe('0');
  const worker = await s.unit('echo-1');
  for (const kind of ['handler', 'input'] as const) {
    await submit(s, kind);
    await worker.fail(await worker.one(), kind, 'no');
  }
  await until(async () => (await count()) === '1', { what: 'the count of the one dead letter' });
});
