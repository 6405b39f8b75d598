// SPDX-License-Identifier: Apache-2.0
import { mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer, get } from 'node:http';
import type { IncomingMessage, Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import express from 'express';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { closeServer, listen } from '#base/ops-server.ts';
import { seededRandom } from '#base/random.ts';
import { isStoreError } from '../errors.ts';
import { createLocalStoreHandler } from './handler.ts';
import { parseRange } from './range-header.ts';
import { openLocalStore } from './store.ts';
import type { LocalStore } from './store.ts';
import { createUrlSigner } from './url.ts';

const clock = createFakeClock();
let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'penstock-local-'));
});
afterEach(() => rm(root, { recursive: true }));

const open = (folder = 'store', url = 'http://127.0.0.1:1'): Promise<LocalStore> =>
  openLocalStore({
    root: join(root, folder),
    signingKey: new Uint8Array(32).fill(7),
    clientUrl: url,
    workerUrl: url,
    clock,
    random: seededRandom(Math.random() * 2 ** 31),
  });
const put = (store: LocalStore, key: string): Promise<unknown> =>
  store.put(key, Buffer.from(key), { contentType: 'text/plain' });
const problem = async (response: Response): Promise<{ status: number; field?: string }> => {
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  return (await response.json()) as { status: number; field?: string };
};

describe('local store', () => {
  it('keeps its objects over a restart, with one file each', async () => {
    const store = await open();
    await put(store, 'v1/a/x');
    await store.close();
    const again = await open();
    expect(await text((await again.get('v1/a/x')).body)).toBe('v1/a/x');
    expect(await readdir(join(root, 'store', 'objects', 'v1', 'a'))).toEqual(['x=']);
  });

  it('an object and the folder of another may have the same name, and list in order', async () => {
    const store = await open();
    const keys = ['a', 'a-b', 'a.b', 'a/b', 'a/b/c', 'a/c', 'a0'];
    for (const key of keys.toReversed()) await put(store, key);
    expect((await store.list('')).objects.map(({ key }) => key)).toEqual(keys);
    await store.delete(['a/b']);
    expect((await store.list('a/')).objects.map(({ key }) => key)).toEqual(['a/b/c', 'a/c']);
  });

  it('deleting the last object of a folder removes the folder, also while others are put into it', async () => {
    const store = await open();
    for (let round = 0; round < 20; round++) {
      await put(store, 'v1/a/deep/x');
      await Promise.all([store.delete(['v1/a/deep/x']), put(store, `v1/a/deep/y${round}`)]);
    }
    expect((await store.list('v1/')).objects).toHaveLength(20);
    await store.delete(Array.from({ length: 20 }, (_, i) => `v1/a/deep/y${i}`));
    expect(await readdir(join(root, 'store', 'objects'))).toEqual([]);
  });

  it('removes what a killed process left half written', async () => {
    await (await open()).close();
    await writeFile(join(root, 'store', 'tmp', 'half'), 'x');
    const store = await open();
    expect(await readdir(join(root, 'store', 'tmp'))).toEqual([]);
    expect((await store.list('')).objects).toEqual([]);
  });

  it.each([
    ['another version', '{"layout":"penstock-objects","version":2}'],
    ['another layout', '{"layout":"something","version":1}'],
    ['no JSON', 'x'],
    ['null', 'null'],
  ])('refuses to open a folder whose marker is of %s', async (_what, marker) => {
    await mkdir(join(root, 'store'));
    await writeFile(join(root, 'store', 'layout.json'), marker);
    await expect(open()).rejects.toSatisfy((err) => isStoreError(err, 'layout'));
    expect(await readdir(join(root, 'store'))).toEqual(['layout.json']);
  });

  it('refuses a folder with files of someone else, and a path that is a file', async () => {
    await mkdir(join(root, 'home'));
    await writeFile(join(root, 'home', 'letter.txt'), 'mine');
    await expect(open('home')).rejects.toSatisfy((err) => isStoreError(err, 'layout'));
    await expect(open('home/letter.txt')).rejects.toSatisfy((err) => isStoreError(err, 'unavailable'));
  });

  it('says that a file is damaged instead of serving it', async () => {
    const store = await open();
    await put(store, 'v1/a/x');
    const path = join(root, 'store', 'objects', 'v1', 'a', 'x=');
    for (const bytes of [(await readFile(path)).subarray(0, 100), Buffer.alloc(600), Buffer.alloc(0)]) {
      await writeFile(path, bytes);
      await expect(store.get('v1/a/x')).rejects.toThrow('damaged');
      await expect(store.head('v1/a/x')).rejects.toThrow('damaged');
    }
  });

  it('ping fails when the folder is gone', async () => {
    const store = await open();
    await rm(join(root, 'store'), { recursive: true });
    await expect(store.ping()).rejects.toSatisfy((err) => isStoreError(err, 'unavailable'));
  });

  it('wants a long signing key and a plain base URL', async () => {
    expect(() => createUrlSigner(new Uint8Array(31))).toThrow('at least 32 bytes');
    for (const url of ['ftp://x', 'http://x/?a=1', 'x']) await expect(open('store', url)).rejects.toThrow(TypeError);
  });
});

describe('Range header', () => {
  it.each([
    [undefined, undefined],
    ['bytes=0-9', { start: 0, end: 9 }],
    ['bytes=5-', { start: 5 }],
    ['bytes=-5', { start: 95 }],
    ['bytes=-500', { start: 0 }],
    ['bytes=9-5', undefined],
    ['bytes=-', undefined],
    ['bytes=0-1,4-5', undefined],
    ['rows=0-1', undefined],
    ['bytes=a-b', undefined],
    ['bytes=0-99999999999999999999', undefined],
  ])('%s of 100 bytes means %j', (header, range) => {
    expect(parseRange(header, 100)).toEqual(range);
  });
});

describe('handler of signed URLs', () => {
  const key = 'v1/a/served';
  let server: Server;
  let store: LocalStore;
  let base: string;
  beforeEach(async () => {
    const app = express();
    server = createServer(app);
    base = `http://127.0.0.1:${await listen(server, '127.0.0.1', 0)}/objects`;
    store = await open('store', base);
    app.use('/objects', createLocalStoreHandler(store, { logger: silentLogger }));
    await store.put(key, Buffer.from('0123456789'), { contentType: 'text/html' });
  });
  afterEach(async () => {
    server.closeAllConnections();
    await closeServer(server);
  });
  const url = (verb: 'GET' | 'PUT', at = key): Promise<string> =>
    store.signedUrl({ key: at, verb, expiresInSeconds: 60, contentType: 'text/plain', bytes: 1000 }, 'client');
  const upload = async (at: string, body: NonNullable<RequestInit['body']>): Promise<Response> =>
    fetch(await url('PUT', at), {
      method: 'PUT',
      body,
      headers: { 'content-type': 'text/plain' },
      duplex: 'half',
    });

  it('mounted in express serves GET and HEAD with headers that keep a browser from running the bytes', async () => {
    const got = await fetch(await url('GET'));
    expect([got.status, await got.text(), got.headers.get('content-type')]).toEqual([200, '0123456789', 'text/html']);
    expect(got.headers.get('content-security-policy')).toContain('sandbox');
    expect(got.headers.get('x-content-type-options')).toBe('nosniff');
    const head = await fetch(await url('GET'), { method: 'HEAD', headers: { range: 'bytes=2-3' } });
    expect([
      head.status,
      head.headers.get('content-length'),
      head.headers.get('content-range'),
      await head.text(),
    ]).toEqual([206, '2', 'bytes 2-3/10', '']);
  });

  it('ignores a range under If-Range, several ranges and unknown units', async () => {
    for (const headers of [
      { range: 'bytes=2-3', 'if-range': '"x"' },
      { range: 'bytes=0-1,3-4' },
      { range: 'rows=1-2' },
    ]) {
      const response = await fetch(await url('GET'), { headers });
      expect([response.status, await response.text()]).toEqual([200, '0123456789']);
    }
  });

  it('416 names the size, as problem+json', async () => {
    for (const range of ['bytes=10-', 'bytes=-0']) {
      const response = await fetch(await url('GET'), { headers: { range } });
      expect(response.headers.get('content-range')).toBe('bytes */10');
      expect(await problem(response)).toMatchObject({ status: 416, field: 'header:Range' });
    }
  });

  it('404 and 405 are problem+json', async () => {
    expect((await problem(await fetch(await url('GET', 'v1/a/none')))).status).toBe(404);
    const response = await fetch(await url('GET'), { method: 'POST', body: 'x' });
    expect(response.headers.get('allow')).toBe('GET, HEAD, PUT');
    expect((await problem(response)).status).toBe(405);
  });

  it.each([
    ['nothing', ''],
    ['a path without query', '/v1/a/served'],
    ['a doubled parameter', '/v1/a/served?v=1&expires=1&expires=2&sig=x'],
    ['a path with dots', '/../../etc/passwd?v=1&expires=9999999999&sig=x'],
    ['an encoded path', '/%2e%2e%2fetc?v=1&expires=9999999999&sig=x'],
    ['a NUL', '/v1/a%00b?v=1&expires=9999999999&sig=x'],
  ])('refuses %s with 403', async (_what, path) => {
    // Not by fetch: it would resolve the dots before it sends.
    const { port } = new URL(base);
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    get({ port, path: `/objects${path}` }, resolve).on('error', reject);
    const response = await promise;
    expect([response.statusCode, response.headers['content-type']]).toEqual([403, 'application/problem+json']);
    expect(JSON.parse(await text(response))).toMatchObject({ status: 403, field: 'url' });
  });

  it.each([
    ['announced', (): Buffer => Buffer.alloc(1_500_000)],
    ['one byte too short', (): Buffer => Buffer.alloc(999)],
    ['streamed', (): ReadableStream => ReadableStream.from([Buffer.alloc(600), Buffer.alloc(900_000)])],
    ['streamed in the right size', (): ReadableStream => ReadableStream.from([Buffer.alloc(1000)])],
  ])('an upload of another size, %s, is refused, heard by the client, and leaves nothing', async (_what, body) => {
    const response = await upload('v1/a/large', body());
    expect(await problem(response)).toMatchObject({ status: 403, field: 'header:Content-Length' });
    expect(await store.head('v1/a/large')).toBeUndefined();
    expect(await readdir(join(root, 'store', 'tmp'))).toEqual([]);
  });

  it('an upload of exactly the size is stored', async () => {
    expect((await upload('v1/a/full', Buffer.alloc(1000, 1))).status).toBe(200);
    const { info, body } = await store.get('v1/a/full');
    expect([info.bytes, (await buffer(body))[0]]).toEqual([1000, 1]);
  });

  it('a URL ends when its time has come, not before', async () => {
    const to = await url('GET');
    await clock.advance(59_000);
    expect((await fetch(to)).status).toBe(200);
    await clock.advance(2000);
    expect(((await problem(await fetch(to))) as { detail?: string }).detail).toBe('this URL has expired');
  });
});
