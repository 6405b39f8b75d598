// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { connect } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { OVERLOAD_LIMITS } from '#gateway/client/overload/limits.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { until } from '#test/until.ts';
import { post, problem, status, submit } from './gateway.client.ts';
import { startStack } from './gateway.harness.ts';
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

/** A gateway whose load is what the test says. */
async function startLoaded(): Promise<{ s: Stack; load: { delay: number; queue: number } }> {
  const load = { delay: 0, queue: 0 };
  const measure = {
    loopDelay: () => ({ lasting: load.delay, latest: load.delay }),
    queueLatency: () => load.queue,
  };
  return { s: await start({ gateway: { overload: { measure } } }), load };
}

/** Sends bytes and collects what comes until the server ends, or until `enough`. */
async function raw(s: Stack, sent: readonly string[], enough: RegExp): Promise<string> {
  const socket = connect(Number(new URL(s.url).port), '127.0.0.1');
  let seen = '';
  socket.on('data', (chunk: Buffer) => {
    seen += chunk.toString('latin1');
  });
  await once(socket, 'connect');
  for (const part of sent) socket.write(part);
  await until(() => enough.test(seen), { what: `${String(enough)} in the answer` });
  socket.destroy();
  return seen;
}

describe('a gateway that cannot keep up', () => {
  test('refuses new requests with 503 and Retry-After, and goes on with what it has', async () => {
    const { s, load } = await startLoaded();
    const ticket = await submit(s, 'before');
    load.delay = 10_000;
    const refused = await post(`${s.url}/v1/echo/infer`, 'during');
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1);
    expect(await problem(refused)).toEqual([503, 'overloaded']);
    const worker = await s.unit('echo-1');
    await worker.complete(await worker.one(), 'done');
    expect(await (await status(s, ticket)).text()).toBe('done');
    load.delay = 0;
    expect((await post(`${s.url}/v1/echo/infer`, 'after')).status).toBe(202);
    expect((await s.queue.demand('uid-echo')).queued).toBe(1);
  });

  test('answers before the body has come, and never says 100 Continue first', async () => {
    const { s, load } = await startLoaded();
    load.delay = 10_000;
    const head = 'POST /v1/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n';
    const plain = await raw(s, [`${head}\r\n`, 'the first bytes'], /overloaded/);
    expect(plain).toMatch(/^HTTP\/1.1 503 /);
    expect(plain).toMatch(/\r\nconnection: close\r\n/i);
    const expecting = await raw(s, [`${head}Expect: 100-continue\r\n\r\n`], /overloaded/);
    expect(expecting).toMatch(/^HTTP\/1.1 503 /);
  });

  test('keeps a connection whose small body it can read off, and serves the next request on it', async () => {
    const { s, load } = await startLoaded();
    load.delay = 10_000;
    const one = 'POST /v1/echo/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody';
    const both = await raw(s, [one, 'GET /version HTTP/1.1\r\nHost: x\r\n\r\n'], /"version"/);
    expect(both).toMatch(/^HTTP\/1.1 503 [^]*HTTP\/1.1 200 OK/);
  });

  test('never sheds what it has let in, however the load grows while the body comes', async () => {
    const { s, load } = await startLoaded();
    const socket = connect(Number(new URL(s.url).port), '127.0.0.1');
    let seen = '';
    socket.on('data', (chunk: Buffer) => {
      seen += chunk.toString('latin1');
    });
    socket.write('POST /v1/echo/infer HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n');
    await until(() => seen.includes('100 Continue'), { what: 'the go-ahead' });
    load.delay = 10_000;
    load.queue = 10_000;
    socket.write('0123456789');
    await until(() => seen.includes('"ticket"'), { what: 'the ticket' });
    expect(seen).toMatch(/HTTP\/1.1 202 /);
    socket.destroy();
  });

  test('refuses by the queue’s latency too, all but the request that finds out', async () => {
    const { s, load } = await startLoaded();
    load.queue = OVERLOAD_LIMITS.queueEnterMs;
    const answers = await Promise.all(
      Array.from({ length: 20 }, async (_, i) => (await post(`${s.url}/v1/echo/infer`, `r${i}`)).status),
    );
    expect(answers).toContain(503);
    expect(answers.filter((code) => code === 202).length).toBeGreaterThanOrEqual(1);
    load.queue = 0;
    await submit(s, 'again');
  });
});

test('a loop that is really held is seen, and seen to be free again', async () => {
  const limits = { ...OVERLOAD_LIMITS, loopSampleMs: 20, loopEnterMs: 60, loopLeaveMs: 40 };
  const s = await start({ gateway: { overload: { limits } } });
  let held = true;
  const hold = (): void => {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 150);
    if (held) setTimeout(hold, 0);
  };
  hold();
  let count = 0;
  const ask = async (): Promise<number> => (await post(`${s.url}/v1/echo/infer`, `r${count++}`)).status;
  await until(async () => (await ask()) === 503, { what: 'a refusal' });
  held = false;
  await until(async () => (await ask()) === 202, { what: 'a request that is taken' });
  expect(await s.registry.metrics()).toMatch(/shed_total\{signal="event-loop",[^}]*\} [1-9]/);
});

test('a queue that really hangs is seen by its calls, and seen to be quick again', async () => {
  const inner = await start();
  let gate: Promise<void> | undefined;
  const queue: LeaseQueue = new Proxy(inner.queue, {
    get: (target, name) => {
      if (name === 'enqueue') {
        return async (...args: Parameters<LeaseQueue['enqueue']>) => {
          await gate;
          return await target.enqueue(...args);
        };
      }
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const limits = { ...OVERLOAD_LIMITS, loopEnterMs: 60_000, queueEnterMs: 300, queueLeaveMs: 200 };
  const s = await startStack({ queue, gateway: { overload: { limits } } });
  try {
    const { promise, resolve } = Promise.withResolvers<void>();
    gate = promise;
    let sent = 0;
    const codes: number[] = [];
    const fire = async (): Promise<void> => {
      const { status: code } = await post(`${s.url}/v1/echo/infer`, `r${sent++}`);
      codes.push(code);
    };
    const fired: Promise<void>[] = [];
    await until(
      () => {
        fired.push(fire());
        return codes.includes(503);
      },
      { what: 'a refusal' },
    );
    expect(codes).not.toContain(202);
    gate = undefined;
    resolve();
    await Promise.all(fired);
    // What had been let in was accepted, however long it took.
    expect(new Set(codes)).toEqual(new Set([202, 503]));
    codes.length = 0;
    await until(
      async () => {
        await fire();
        await fire();
        return codes.slice(-2).every((code) => code === 202);
      },
      { what: 'a quick queue' },
    );
    expect(await s.registry.metrics()).toMatch(/shed_total\{signal="queue",[^}]*\} [1-9]/);
  } finally {
    await s.close();
  }
});
