// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, describe, expect, test } from 'vitest';
import { post, problem, submit } from './gateway.client.ts';
import { bodyOf, startStack, testApp } from './gateway.harness.ts';
import type { AppPatch, Stack } from './gateway.harness.ts';

const CODINGS = [
  ['gzip', gzipSync],
  ['deflate', deflateSync],
  ['zstd', zstdCompressSync],
] as const;

let stack: Stack | undefined;

async function start(patch: AppPatch = {}): Promise<Stack> {
  stack = await startStack({ apps: [testApp(patch)] });
  return stack;
}

afterEach(async () => {
  await stack?.close();
  stack = undefined;
});

describe.each(CODINGS)('a body in %s', (coding, compress) => {
  const headers = { 'content-encoding': coding, 'content-type': 'application/json' };
  const text = (bytes: number): string => JSON.stringify({ data: randomBytes(bytes / 2).toString('hex'), _rid: 'r' });

  test.each([100, 200_000])('of %i bytes reaches the worker in a coding that it reads', async (bytes) => {
    const s = await start();
    const body = text(bytes);
    await submit(s, compress(body), headers);
    const lease = await (await s.unit('echo-1')).one();
    const stored = await bodyOf(lease);
    expect(lease.body.content_encoding).toBe(coding === 'gzip' ? 'gzip' : undefined);
    expect(stored.equals(coding === 'gzip' ? compress(body) : Buffer.from(body))).toBe(true);
    expect(lease.body.bytes).toBe(stored.length);
  });

  test.each([100, 200_000])(
    'of %i bytes and the same body plain are one request, with a key and without',
    async (n) => {
      const s = await start();
      const keyed = text(n);
      const free = keyed.replace('_rid', 'other');
      const plain = { 'content-type': 'application/json' };
      for (const body of [keyed, free])
        expect(await submit(s, body, plain)).toBe(await submit(s, compress(body), headers));
      expect((await s.queue.demand('uid-echo')).queued).toBe(2);
      const other = await post(`${s.url}/v1/echo/infer`, compress(keyed.replace('"data"', '"DATA"')), headers);
      expect(await problem(other)).toEqual([422, 'key-reused']);
      expect((await s.store.list('v1/')).objects).toHaveLength(n > 16_384 ? 2 : 0);
    },
  );

  test('that is a bomb is refused by what it would become, in bounded memory, and leaves nothing', async () => {
    const s = await start({ maxBytes: 1_000_000 });
    const bomb = compress(Buffer.alloc(256 * 1024 * 1024));
    expect(bomb.length).toBeLessThan(1_000_000);
    const before = process.memoryUsage().rss;
    const bytes = { ...headers, 'content-type': 'application/octet-stream' };
    expect(await problem(await post(`${s.url}/v1/echo/infer`, bomb, bytes))).toEqual([413, 'body-too-large']);
    expect(process.memoryUsage().rss - before).toBeLessThan(128 * 1024 * 1024);
    expect((await s.store.list('v1/')).objects).toEqual([]);
  });

  test.each([100, 200_000])('that breaks off after %i bytes is refused, and leaves nothing', async (bytes) => {
    const s = await start();
    const whole = compress(text(bytes));
    const cut = await post(`${s.url}/v1/echo/infer`, whole.subarray(0, whole.length - 3), headers);
    expect(await problem(cut)).toEqual([400, 'bad-body']);
    expect((await s.store.list('v1/')).objects).toEqual([]);
    expect((await s.queue.demand('uid-echo')).queued).toBe(0);
  });

  test('with bytes after its end is refused', async () => {
    const s = await start();
    const body = Buffer.concat([compress('{"a":1}'), Buffer.from('and more')]);
    expect(await problem(await post(`${s.url}/v1/echo/infer`, body, headers))).toEqual([400, 'bad-body']);
  });

  test('that is no JSON inside is refused with the position in the decoded text', async () => {
    const s = await start();
    const answer = await post(`${s.url}/v1/echo/infer`, compress('{"a":}'), headers);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({ type: 'urn:penstock:problem:bad-json', field: 'body', position: 5 });
  });
});

test('a zstd body whose frames ask for a window above 8 MiB is refused', async () => {
  const s = await start();
  // RFC 8878 §3.1.1.1: magic, no single segment, window descriptor for 2^27 bytes, one raw block that is the last, of one byte.
  const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, (27 - 10) << 3, 0x09, 0x00, 0x00, 0x61]);
  const answer = await post(`${s.url}/v1/echo/infer`, frame, { 'content-encoding': 'zstd' });
  expect(await problem(answer)).toEqual([400, 'bad-body']);
  frame[5] = (20 - 10) << 3;
  expect((await post(`${s.url}/v1/echo/infer`, frame, { 'content-encoding': 'zstd' })).status).toBe(202);
});

test.each(['br', 'gzip, gzip', 'gzip, identity', 'gzip;q=1', 'compress'])(
  'Content-Encoding: %s is refused with the codings that are read',
  async (coding) => {
    const s = await start();
    const answer = await post(`${s.url}/v1/echo/infer`, gzipSync('x'), { 'content-encoding': coding });
    expect(answer.headers.get('accept-encoding')).toBe('gzip, deflate, zstd, identity');
    expect(await problem(answer)).toEqual([415, 'unsupported-encoding']);
  },
);
