// SPDX-License-Identifier: Apache-2.0
// Results on the worker's wire: where they end up by their size, and what becomes of them when something fails on the way.
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { afterEach, expect, test } from 'vitest';
import { RESULT_INLINE_LIMIT_BYTES } from '#base/wire/broker.ts';
import type { CompleteReply, WireLease, WireResult } from '#base/wire/broker.ts';
import { INLINE_LIMIT_BYTES } from '#gateway/queue/lease-queue.ts';
import type { ObjectStore } from '#gateway/store/object-store.ts';
import { payloadType } from '#gateway/store/stored-type.ts';
import { problem, status, submit } from './gateway.client.ts';
import { held, startStack } from './gateway.harness.ts';
import type { Stack, StackOptions, TestUnit } from './gateway.harness.ts';

let stack: Stack | undefined;

async function start(options: StackOptions = {}): Promise<Stack> {
  stack = await startStack(options);
  return stack;
}

afterEach(async () => {
  await stack?.close();
  stack = undefined;
});

const TYPE = 'application/octet-stream';

function inline(bytes: Buffer, more: Partial<WireResult> = {}): WireResult {
  return { content_type: TYPE, bytes: bytes.length, inline: bytes.toString('base64'), ...more };
}

/** `complete` of several results in one call; the status when it was refused. */
async function complete(unit: TestUnit, results: readonly (readonly [WireLease, WireResult])[]): Promise<unknown> {
  const call = { results: results.map(([lease, result]) => ({ ...held(lease), result, service_micros: 1000 })) };
  const answer = await unit.post('complete', call);
  if (answer.status !== 200) return await problem(answer);
  return ((await answer.json()) as CompleteReply).results.map(({ outcome }) => outcome);
}

async function storedKeys({ store }: Stack): Promise<readonly string[]> {
  return (await store.list('v1/uid-echo/results/')).objects.map(({ key }) => key);
}

/** A store that fails as it is told to. */
function failing(store: ObjectStore): { store: ObjectStore; fail: (failing: boolean) => void } {
  let fails = false;
  const put: ObjectStore['put'] = async (...args) => {
    if (fails) throw new Error('the store is away');
    return await store.put(...args);
  };
  return {
    fail: (now) => {
      fails = now;
    },
    store: new Proxy(store, { get: (target, name) => (name === 'put' ? put : Reflect.get(target, name)) as unknown }),
  };
}

test('up to 16 KiB a result stays in its record, beyond the gateway stores it, beyond 256 KiB it refuses', async () => {
  const s = await start();
  const unit = await s.unit('echo-1');
  const sizes = [0, INLINE_LIMIT_BYTES, INLINE_LIMIT_BYTES + 1, RESULT_INLINE_LIMIT_BYTES];
  const tickets = [];
  for (const size of sizes) tickets.push(await submit(s, `size ${size}`));
  const leases = (await unit.lease(4)).leases;
  const results = leases.map((lease, i) => [lease, inline(Buffer.alloc(sizes[i] ?? 0, i + 1))] as const);
  expect(await complete(unit, results)).toEqual(['committed', 'committed', 'committed', 'committed']);
  for (const [i, ticket] of tickets.entries()) {
    const answer = await status(s, ticket);
    const bytes = Buffer.from(await answer.arrayBuffer());
    expect([answer.status, bytes.equals(Buffer.alloc(sizes[i] ?? 0, i + 1))]).toEqual([200, true]);
  }
  expect(await storedKeys(s)).toHaveLength(2);
  await submit(s, 'too large');
  const lease = await unit.one();
  const large = inline(Buffer.alloc(RESULT_INLINE_LIMIT_BYTES + 1));
  expect(await complete(unit, [[lease, large]])).toEqual([400, 'bad-body']);
  expect(await unit.complete(lease, 'smaller')).toBe('committed');
});

test('the object of a result alone tells what its bytes are', async () => {
  const s = await start();
  const unit = await s.unit('echo-1');
  const zipped = gzipSync(randomBytes(30_000));
  expect(zipped.length).toBeGreaterThan(INLINE_LIMIT_BYTES);
  const ticket = await submit(s, 'zip');
  const lease = await unit.one();
  const result = inline(zipped, { content_type: 'text/plain; charset=utf-8', content_encoding: 'gzip' });
  expect(await complete(unit, [[lease, result]])).toEqual(['committed']);
  const [key = ''] = await storedKeys(s);
  const info = await s.store.head(key);
  expect([info?.bytes, payloadType(info?.contentType ?? '')]).toEqual([
    zipped.length,
    { contentType: 'text/plain; charset=utf-8', contentEncoding: 'gzip' },
  ]);
  const answer = await status(s, ticket);
  expect([answer.headers.get('content-type'), (await answer.arrayBuffer()).byteLength]).toEqual([
    'text/plain; charset=utf-8',
    30_000,
  ]);
});

test('one result that is wrong in itself has the whole call refused before anything is stored', async () => {
  const s = await start();
  const unit = await s.unit('echo-1');
  await submit(s, 'a');
  await submit(s, 'b');
  const [a, b] = (await unit.lease(2)).leases as [WireLease, WireLease];
  const large = inline(Buffer.alloc(100_000));
  const answer = await unit.post('complete', {
    results: [
      { ...held(a), result: large, service_micros: 1 },
      { ...held(b), result: { ...large, bytes: 99_999 }, service_micros: 1 },
    ],
  });
  expect(await answer.json()).toMatchObject({ status: 400, field: 'body.results[1].result.bytes' });
  expect(await storedKeys(s)).toEqual([]);
});

test('the repeat of a call whose answer was lost is told the same, and stores nothing more', async () => {
  const s = await start();
  const unit = await s.unit('echo-1');
  const ticket = await submit(s, 'twice');
  const lease = await unit.one();
  const result = inline(Buffer.alloc(100_000, 1));
  expect(await complete(unit, [[lease, result]])).toEqual(['committed']);
  expect(await complete(unit, [[lease, inline(Buffer.alloc(100_000, 2))]])).toEqual(['committed']);
  expect(Buffer.from(await (await status(s, ticket)).arrayBuffer()).equals(Buffer.alloc(100_000, 1))).toBe(true);
  expect(await storedKeys(s)).toHaveLength(1);
});

test('a large result that comes after its lease ran out is taken as long as nobody has leased the request again', async () => {
  const s = await start({ gateway: { leaseSeconds: 1 } });
  const unit = await s.unit('echo-1');
  const ticket = await submit(s, 'late');
  const lease = await unit.one();
  await s.queue.expire(new Map([['uid-echo', 'rev1']]), Date.now() + 2_000);
  expect((await s.queue.demand('uid-echo')).leased).toBe(0);
  expect(await complete(unit, [[lease, inline(Buffer.alloc(100_000))]])).toEqual(['committed']);
  expect((await status(s, ticket)).status).toBe(200);
  const again = await submit(s, 'later still');
  const lost = await unit.one();
  await s.queue.expire(new Map([['uid-echo', 'rev1']]), Date.now() + 2_000);
  const other = await s.unit('echo-2');
  const won = await other.one();
  expect(await complete(unit, [[lost, inline(Buffer.alloc(100_000, 1))]])).toEqual(['lost']);
  expect(await complete(other, [[won, inline(Buffer.alloc(100_000, 2))]])).toEqual(['committed']);
  expect(Buffer.from(await (await status(s, again)).arrayBuffer())[0]).toBe(2);
  expect(await storedKeys(s)).toHaveLength(2);
});

test('while the store is away a large result is a 503 that changes nothing, and small ones commit', async () => {
  const first = await startStack();
  const flaky = failing(first.store);
  const s = await start({ store: flaky.store });
  const unit = await s.unit('echo-1');
  for (const body of ['small', 'large']) await submit(s, body);
  const [small, large] = (await unit.lease(2)).leases as [WireLease, WireLease];
  flaky.fail(true);
  const result = inline(Buffer.alloc(100_000));
  expect(await complete(unit, [[large, result]])).toEqual([503, 'store-unavailable']);
  expect(await unit.complete(small, 'done')).toBe('committed');
  expect((await s.queue.demand('uid-echo')).leased).toBe(1);
  flaky.fail(false);
  expect(await complete(unit, [[large, result]])).toEqual(['committed']);
  await first.close();
});

test('forty units that hand in a mebibyte each at the same time all get their turn', async () => {
  const s = await start();
  const unit = await s.unit('echo-1');
  const CALLS = 40;
  for (let i = 0; i < CALLS * 4; i++) await submit(s, `r${i}`);
  const leases: WireLease[] = [];
  while (leases.length < CALLS * 4) leases.push(...(await unit.lease(64)).leases);
  const bytes = Buffer.alloc(RESULT_INLINE_LIMIT_BYTES, 7);
  const calls = Array.from({ length: CALLS }, (_, i) =>
    complete(
      unit,
      leases.slice(i * 4, i * 4 + 4).map((lease) => [lease, inline(bytes)] as const),
    ),
  );
  expect(new Set((await Promise.all(calls)).flat())).toEqual(new Set(['committed']));
  expect(await storedKeys(s)).toHaveLength(CALLS * 4);
}, 120_000);
