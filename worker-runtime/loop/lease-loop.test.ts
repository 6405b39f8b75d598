// SPDX-License-Identifier: Apache-2.0
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import type { Clock } from '#base/clock.ts';
import type { CompleteCall } from '#base/wire/broker.ts';
import type { Outcome, WorkItem } from '../executor.ts';
import { startLoop, states, success, until } from '../testing/loop-harness.ts';
import type { Setup } from '../testing/loop-harness.ts';
import type { UnitEnd } from './lease-loop.ts';

it('holds what concurrency allows and refills on each completion', async () => {
  const { broker, executor, loop } = await startLoop({ concurrency: 3, slots: 3 });
  for (let i = 0; i < 5; i++) broker.add('x');
  void loop.run();
  await until('three', () => executor.running.length === 3);
  executor.running[1]?.finish();
  await until('the refill', () => executor.running.length === 3);
  expect(states(broker)).toEqual(['leased', 'succeeded', 'leased', 'leased', 'queued']);
});

it('makes one batch of what came in one reply, and one call of its results', async () => {
  const { broker, executor, loop } = await startLoop({ concurrency: 8, batchSize: 8 });
  for (let i = 0; i < 8; i++) broker.add(`${i}`);
  void loop.run();
  await until('the batch', () => executor.running.length === 1);
  executor.running[0]?.finish(({ body }) => success(`result of ${Buffer.from(body).toString()}`));
  await until('the results', () => states(broker).every((state) => state === 'succeeded'));
  expect([executor.begun, broker.callsOf('complete')]).toEqual([[8], 1]);
  expect([...broker.requests.values()].map(({ result }) => result?.body.toString())).toEqual(
    Array.from({ length: 8 }, (_, i) => `result of ${i}`),
  );
});

it('makes one call of the failures of a batch', async () => {
  const { broker, executor, loop } = await startLoop({ concurrency: 4, batchSize: 4, maxAttempts: 1 });
  for (let i = 0; i < 4; i++) broker.add(`${i}`);
  void loop.run();
  await until('the batch', () => executor.running.length === 1);
  const failed = (kind: 'input' | 'handler', message: string): Outcome => ({
    kind: 'failed',
    failure: { kind, message },
  });
  executor.running[0]?.finish(({ body }) => {
    const text = Buffer.from(body).toString();
    return text === '3' ? success() : failed(text === '0' ? 'input' : 'handler', `bad ${text}`);
  });
  await until('the outcomes', () => !states(broker).includes('leased'));
  expect([broker.callsOf('fail'), broker.callsOf('complete')]).toEqual([1, 1]);
  expect([...broker.requests.values()].map(({ cause }) => cause)).toEqual([
    { kind: 'input', message: 'bad 0' },
    { kind: 'handler', message: 'bad 1' },
    { kind: 'handler', message: 'bad 2' },
    undefined,
  ]);
});

it('says what it is and what it holds, each time it asks', async () => {
  const { broker, executor, loop } = await startLoop({ concurrency: 3, slots: 2, instances: 2 });
  broker.add('x');
  void loop.run();
  await until('the request', () => executor.running.length === 1);
  await until('the next call', () => broker.callsOf('lease') === 2);
  const capability = { archetype: 'Handler', instances: 2, concurrency: 3 };
  expect(broker.calls.filter(({ call }) => call === 'lease').map(({ body }) => body)).toEqual([
    { max: 3, wait_seconds: 1, capability, held: 0 },
    { max: 2, wait_seconds: 1, capability, held: 1 },
  ]);
});

it('runs the one request it is given although it asked for more, and asks for the rest while that runs', async () => {
  const { broker, executor, loop } = await startLoop({ concurrency: 4, batchSize: 4, givesAtMost: 1 });
  for (let i = 0; i < 3; i++) broker.add('x');
  void loop.run();
  await until('the first', () => executor.running.length === 1);
  // The fourth call comes when the third lease is in.
  await until('the others, waiting for the slot', () => broker.callsOf('lease') === 4);
  executor.running[0]?.finish();
  await until('the rest in one batch', () => executor.running.length === 1);
  expect(executor.begun).toEqual([1, 2]);
  executor.running[0]?.finish();
  await until('all results', () => states(broker).every((state) => state === 'succeeded'));
});

it('runs a request that was tried before alone', async () => {
  const { broker, executor, loop } = await startLoop({ concurrency: 4, batchSize: 4 });
  for (let i = 0; i < 4; i++) broker.add('x').attempt = i === 1 ? 1 : 0;
  void loop.run();
  await until('the first batch', () => executor.running.length === 1);
  executor.running[0]?.finish();
  await until('the second', () => executor.running.length === 1);
  expect(executor.begun).toEqual([3, 1]);
});

it('keeps leases alive for as long as the work takes', async () => {
  const { broker, executor, loop } = await startLoop({ leaseSeconds: 1.5, concurrency: 2, slots: 2 });
  const [a, b] = [broker.add('a'), broker.add('b')];
  void loop.run();
  // At a third of the lease each: without them it would have run out.
  await until('five heartbeats', () => broker.callsOf('extend') >= 5);
  for (const run of executor.running.slice()) run.finish();
  await until('the results', () => a.state === 'succeeded' && b.state === 'succeeded');
  expect([a.attempt, b.attempt, a.losses, b.losses]).toEqual([1, 1, 0, 0]);
});

it('goes on with the attempt under way when its lease ran out without a gateway and comes back to it', async () => {
  const { broker, executor, loop } = await startLoop({ leaseSeconds: 0.4, concurrency: 2 });
  const request = broker.add('x');
  void loop.run();
  await until('the run', () => executor.running.length === 1);
  await broker.stop();
  await until('the end of the lease', () => request.expiresAt < Date.now());
  await broker.start();
  // Leased again, and the loop knows: its heartbeat carries the newer token.
  const heartbeat = (): boolean =>
    broker.calls.some(({ call, body }) => call === 'extend' && /"lease_token":"[^1]/.test(JSON.stringify(body)));
  await until('the second lease', heartbeat);
  executor.running[0]?.finish();
  await until('the result', () => request.state === 'succeeded');
  expect(executor.begun).toEqual([1]);
});

it('delivers a result that was made while the gateway was away', async () => {
  const { broker, executor, loop } = await startLoop();
  const request = broker.add('x');
  void loop.run();
  await until('the run', () => executor.running.length === 1);
  await broker.stop();
  executor.running[0]?.finish();
  await until('an attempt to deliver', () => executor.running.length === 0);
  expect(request.state).toBe('leased');
  await broker.start();
  await until('the result', () => request.state === 'succeeded');
});

it('never starts a request whose lease went to somebody else while it waited', async () => {
  const { broker, executor, loop } = await startLoop({ leaseSeconds: 1.5, concurrency: 2 });
  const [running, waiting] = [broker.add('a'), broker.add('b')];
  void loop.run();
  await until('both leases', () => states(broker).join() === 'leased,leased');
  waiting.attempt = 7;
  const heartbeats = broker.callsOf('extend');
  await until('a heartbeat', () => broker.callsOf('extend') > heartbeats + 1);
  executor.running[0]?.finish();
  await until('the result', () => running.state === 'succeeded');
  expect(executor.begun).toEqual([1]);
});

it('gives a cancelled request back at once, told by its signal when it runs', async () => {
  const { broker, executor, loop } = await startLoop({ leaseSeconds: 1.5, concurrency: 2 });
  const [running, waiting] = [broker.add('a'), broker.add('b')];
  void loop.run();
  await until('both leases', () => states(broker).join() === 'leased,leased');
  running.cancelRequested = true;
  waiting.cancelRequested = true;
  await until('both ends', () => states(broker).join() === 'cancelled,cancelled');
  await until('the signal', () => executor.running[0]?.items[0]?.signal.aborted === true);
  executor.running[0]?.finish();
  expect([executor.begun, broker.callsOf('complete')]).toEqual([[1], 0]);
});

it('renews a session that is no longer valid, once, and goes on', async () => {
  const { broker, executor, loop } = await startLoop();
  const request = broker.add('x');
  void loop.run();
  await until('the run', () => executor.running.length === 1);
  broker.expireSessions();
  executor.running[0]?.finish();
  await until('the result', () => request.state === 'succeeded');
  expect(broker.callsOf('token')).toBe(2);
});

it.each<[string, Setup, (f: Awaited<ReturnType<typeof startLoop>>) => void, Partial<UnitEnd>]>([
  ['told to leave', { lingerMs: 0 }, () => {}, { code: 0, reason: 'left' }],
  ['asked to stop', {}, ({ loop }) => loop.stop('SIGTERM'), { code: 0, reason: 'stopped' }],
  ['broken', {}, ({ executor }) => executor.breakDown(), { code: 1, reason: 'crashed', detail: 'out of memory' }],
  [
    'refused',
    { leaseWaitSeconds: 0 },
    ({ broker }) => {
      broker.refusesTokens = true;
      broker.expireSessions();
    },
    { code: 0, reason: 'refused' },
  ],
  [
    'without a gateway for too long',
    { brokerLostMs: 300 },
    ({ broker }) => void broker.stop(),
    { code: 1, reason: 'broker-lost' },
  ],
])('ends when it is %s', async (_name, setup, act, end) => {
  const f = await startLoop(setup);
  const run = f.loop.run();
  await until('a lease call', () => f.broker.callsOf('lease') > 0);
  act(f);
  expect(await run).toMatchObject(end);
  expect(f.executor.closed).toBe(true);
});

it('gives back everything that it has not finished when it breaks down', async () => {
  const { broker, executor, loop } = await startLoop({ concurrency: 3, slots: 2 });
  for (let i = 0; i < 3; i++) broker.add('x');
  const run = loop.run();
  await until('two', () => executor.running.length === 2);
  executor.running[0]?.finish({ kind: 'failed', failure: { kind: 'handler', message: 'died' } });
  executor.breakDown();
  expect((await run).code).toBe(1);
  expect(states(broker)).toEqual(['queued', 'queued', 'queued']);
  expect([...broker.requests.values()].map(({ releases }) => releases)).toEqual([0, 1, 1]);
});

it('gives back, and does not run, what a waiting lease call brings when it was asked to stop', async () => {
  const { broker, executor, loop } = await startLoop();
  const run = loop.run();
  await until('a lease call', () => broker.callsOf('lease') === 1);
  loop.stop('SIGTERM');
  const request = broker.add('x');
  expect(await run).toMatchObject({ code: 0, reason: 'stopped' });
  expect([request.state, request.attempt, request.releases]).toEqual(['queued', 1, 1]);
  expect(executor.begun).toEqual([]);
});

it('ends in time although the gateway that gave it something at the last moment is gone before it can give that back', async () => {
  const { broker, executor, loop } = await startLoop();
  broker.cuts = 'release';
  const run = loop.run();
  await until('a lease call', () => broker.callsOf('lease') === 1);
  loop.stop('SIGTERM');
  broker.add('x');
  expect(await run).toMatchObject({ code: 0, reason: 'stopped' });
  expect([broker.callsOf('release') > 0, states(broker), executor.begun]).toEqual([true, ['leased'], []]);
});

it('leases no more than maxJobs, and ends when they are done', async () => {
  const { broker, executor, loop } = await startLoop({ concurrency: 4, slots: 4, maxJobs: 3 });
  for (let i = 0; i < 5; i++) broker.add('x');
  const run = loop.run();
  await until('three', () => executor.running.length === 3);
  for (const running of executor.running.slice()) running.finish();
  expect(await run).toMatchObject({ code: 0, reason: 'max-jobs' });
  expect(states(broker)).toEqual(['succeeded', 'succeeded', 'succeeded', 'queued', 'queued']);
});

it('inflates bodies, and fails one that is broken gzip as bad input without running it', async () => {
  const { broker, executor, loop } = await startLoop({ concurrency: 3, slots: 3 });
  const good = broker.add(gzipSync('{"a":1}'), 'application/json', 'gzip');
  const bad = broker.add('no gzip', 'application/json', 'gzip');
  const badLarge = broker.add(Buffer.alloc(100_000), 'application/json', 'gzip');
  void loop.run();
  await until('the good one', () => executor.running.length === 1);
  executor.running[0]?.finish(({ body }) => success(Buffer.from(body).toString()));
  await until('the ends', () => states(broker).join() === 'succeeded,failed,failed');
  expect(good.result?.body.toString()).toBe('{"a":1}');
  expect([bad.cause?.kind, badLarge.cause?.kind]).toEqual(['input', 'input']);
  expect(executor.begun).toEqual([1]);
});

it('hands in what is late before it asks for more, so that it does not run its own request again', async () => {
  const { broker, executor, loop } = await startLoop({ leaseSeconds: 2, concurrency: 2 });
  const request = broker.add('x');
  void loop.run();
  await until('the run', () => executor.running.length === 1);
  await broker.stop();
  executor.running[0]?.finish(success('late'));
  await until('the end of the lease', () => request.expiresAt < Date.now());
  await broker.start();
  await until('the result', () => request.state === 'succeeded');
  expect([request.attempt, executor.begun]).toEqual([1, [1]]);
});

it('hands in under the new lease what is too late for the old one', async () => {
  const { broker, executor, loop } = await startLoop({ concurrency: 2, slots: 2 });
  const request = broker.add('x');
  const gate = Promise.withResolvers<void>();
  broker.completesAfter = gate.promise;
  void loop.run();
  await until('the run', () => executor.running.length === 1);
  executor.running[0]?.finish(success('done'));
  await until('the result on its way', () => broker.callsOf('complete') === 1);
  request.expiresAt = 0;
  await until('the lease that the same unit is given', () => request.attempt === 2);
  // The next call of the loop says that the answer with that lease is in.
  const asked = broker.callsOf('lease');
  await until('the next call', () => broker.callsOf('lease') > asked);
  gate.resolve();
  await until('the result', () => request.state === 'succeeded');
  expect([request.attempt, executor.begun, broker.callsOf('complete'), request.releases]).toEqual([2, [1], 2, 0]);
});

it('carries large bodies and results by signed URLs, unchanged', async () => {
  const { broker, executor, loop } = await startLoop();
  const body = Buffer.from(Uint8Array.from({ length: 1_000_000 }, (_, i) => (i * 7) % 251));
  const request = broker.add(body, 'application/x-large');
  void loop.run();
  await until('the run', () => executor.running.length === 1);
  const echo = (item: WorkItem): Outcome => ({
    kind: 'succeeded',
    body: item.body,
    contentType: item.contentType,
    serviceMicros: 1,
  });
  executor.running[0]?.finish(echo);
  await until('the result', () => request.state === 'succeeded');
  expect([request.result?.contentType, request.result?.body.equals(body)]).toEqual(['application/x-large', true]);
});

it('fails a request whose result has a content type that cannot be one', async () => {
  const { broker, executor, loop } = await startLoop({ maxAttempts: 1 });
  const request = broker.add('x');
  void loop.run();
  await until('the run', () => executor.running.length === 1);
  executor.running[0]?.finish(success('x', 'text\r\nset-cookie: a=b'));
  await until('the end', () => request.state === 'failed');
  expect(request.cause?.kind).toBe('handler');
});

it('fails a request whose host names no content type at all', async () => {
  const { broker, executor, loop } = await startLoop({ maxAttempts: 1 });
  const request = broker.add('x');
  void loop.run();
  await until('the run', () => executor.running.length === 1);
  // A host is another process, or user code in Python: its types are a promise that nobody checked.
  executor.running[0]?.finish(success('x', JSON.parse('null') as string));
  await until('the end', () => request.state === 'failed');
  expect(request.cause).toMatchObject({ kind: 'handler', message: expect.stringContaining('content type') as string });
});

it('sends results of up to 256 KiB along, a mebibyte in each call, and small ones in a call of their own', async () => {
  const KIB = 1024;
  const { broker, executor, loop } = await startLoop({ concurrency: 8, batchSize: 8 });
  const sizes = [1, 256, 200, 16, 256, 256, 256, 257].map((kib) => kib * KIB);
  for (const size of sizes) broker.add(String(size));
  void loop.run();
  await until('the batch', () => executor.running.length === 1);
  executor.running[0]?.finish(({ body }) => success('x'.repeat(Number(Buffer.from(body).toString()))));
  await until('the results', () => states(broker).every((state) => state === 'succeeded'));
  expect([...broker.requests.values()].map(({ result }) => result?.body.length)).toEqual(sizes);
  const calls = broker.calls.filter(({ call }) => call === 'complete').map(({ body }) => kibInline(body));
  expect(new Set(calls)).toEqual(new Set(['1 16', '256 200 256 256', '256', '0']));
  expect(calls).toHaveLength(4);
  expect(broker.callsOf('upload-url')).toBe(1);
});

/** Sizes of the inline results of one call; 0 for one that was uploaded. */
function kibInline(body: Record<string, unknown>): string {
  const { results } = body as unknown as CompleteCall;
  return results.map(({ result }) => Buffer.from(result.inline ?? '', 'base64').length / 1024).join(' ');
}

it('asks for another URL when the store refuses the one for the result, which charges nobody', async () => {
  const { broker, executor, loop } = await startLoop({ maxAttempts: 1 });
  const request = broker.add('x');
  void loop.run();
  await until('the run', () => executor.running.length === 1);
  broker.refusesTransfers = 2;
  executor.running[0]?.finish(success('x'.repeat(300_000)));
  await until('the end', () => request.state !== 'leased');
  expect([request.state, request.result?.body.length]).toEqual(['succeeded', 300_000]);
  expect(broker.callsOf('upload-url')).toBe(3);
});

it('tries again to read a body that the store refuses', async () => {
  const { broker, executor, loop } = await startLoop({ maxAttempts: 1 });
  const request = broker.add('y'.repeat(100_000));
  broker.refusesTransfers = 1;
  void loop.run();
  await until('the run', () => executor.running.length === 1);
  executor.running[0]?.finish(success('done'));
  await until('the end', () => request.state !== 'leased');
  expect([request.state, request.attempt]).toEqual(['succeeded', 1]);
});

it('gives a request back whose body the store does not hand out, which charges nobody', async () => {
  // A minute of trying passes in 60 ms.
  const transferClock: Clock = { ...systemClock, monotonic: () => systemClock.monotonic() * 1000 };
  const { broker, executor, loop } = await startLoop({ maxAttempts: 1, transferClock });
  const request = broker.add('y'.repeat(100_000));
  broker.refusesTransfers = Infinity;
  void loop.run();
  await until('the hand-back', () => request.releases > 0);
  broker.refusesTransfers = 0;
  await until('the run', () => executor.running.length === 1);
  executor.running[0]?.finish(success('done'));
  await until('the end', () => request.state !== 'leased');
  expect([request.state, broker.callsOf('fail')]).toEqual(['succeeded', 0]);
});
