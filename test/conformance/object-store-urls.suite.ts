// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ObjectStore } from '#gateway/store/object-store.ts';
import { until } from '#test/until.ts';
import { APP, MIB, failure, sha } from './object-store.harness.ts';
import type { StoreHarness } from './object-store.harness.ts';

/** The same checks of signed URLs for every driver, with plain fetch. */
export function signedUrlSuite(name: string, open: () => Promise<StoreHarness>): void {
  describe(`signed URLs: ${name}`, () => {
    let at: StoreHarness;
    let store: ObjectStore;
    beforeAll(async () => {
      at = await open();
      store = at.store;
    });
    afterAll(() => at.close());
    const text = async (): Promise<string> => (await buffer((await store.get(key)).body)).toString();

    const key = `v1/${APP}/signed`;
    const contentType = 'text/plain; charset=utf-8';
    const url = (
      verb: 'GET' | 'PUT',
      changes: { key?: string; expiresInSeconds?: number; contentType?: string; bytes?: number } = {},
      audience: 'client' | 'worker' = 'worker',
    ): Promise<string> =>
      store.signedUrl(
        { key, verb, expiresInSeconds: 60, ...(verb === 'PUT' && { contentType, bytes: 11 }), ...changes },
        audience,
      );
    const put = (to: string, type = contentType, body: Buffer | string = 'overwritten'): Promise<Response> =>
      fetch(to, { method: 'PUT', headers: { 'content-type': type }, body });
    const expectRefused = async (response: Response): Promise<void> => {
      const body = await response.text();
      expect(at.refusal.statuses).toContain(response.status);
      expect(response.headers.get('content-type')).toMatch(at.refusal.type);
      expect(body.length).toBeGreaterThan(20);
    };
    beforeAll(async () => {
      await store.put(key, Buffer.from('signed bytes'), { contentType });
    });

    it.each(['client', 'worker'] as const)(
      'for a %s: GET with plain fetch, at its base URL, bytes and type unchanged',
      async (audience) => {
        const to = await url('GET', {}, audience);
        expect(to.startsWith(audience === 'client' ? at.clientOrigin : at.workerOrigin)).toBe(true);
        const response = await fetch(to);
        expect([response.status, response.headers.get('content-type'), await response.text()]).toEqual([
          200,
          contentType,
          'signed bytes',
        ]);
      },
    );

    it.each(['client', 'worker'] as const)('for a %s: PUT with plain fetch stores bytes and type', async (audience) => {
      const bytes = randomBytes(3 * MIB);
      const response = await put(
        await url('PUT', { key: `${key}.${audience}`, bytes: bytes.length }, audience),
        contentType,
        bytes,
      );
      expect(response.status).toBe(200);
      const { info, body } = await store.get(`${key}.${audience}`);
      expect([info.contentType, sha(await buffer(body))]).toEqual([contentType, sha(bytes)]);
    });

    it.each([
      ['bytes=0-5', 206, 'signed', 'bytes 0-5/12'],
      ['bytes=7-', 206, 'bytes', 'bytes 7-11/12'],
      ['bytes=-5', 206, 'bytes', 'bytes 7-11/12'],
      ['bytes=7-99', 206, 'bytes', 'bytes 7-11/12'],
    ])('serves Range %s', async (range, status, text, contentRange) => {
      const response = await fetch(await url('GET'), { headers: { range } });
      expect([response.status, await response.text(), response.headers.get('content-range')]).toEqual([
        status,
        text,
        contentRange,
      ]);
    });

    it('answers 416 to a range beyond the end, and 404 for an object that is gone', async () => {
      const beyond = await fetch(await url('GET'), { headers: { range: 'bytes=12-' } });
      expect(beyond.status).toBe(416);
      await beyond.text();
      const gone = await fetch(await url('GET', { key: `${key}.gone` }));
      expect(gone.status).toBe(404);
      await gone.text();
    });

    it('is good for its verb only', async () => {
      await expectRefused(await put(await url('GET')));
      await expectRefused(await fetch(await url('PUT')));
      for (const verb of ['GET', 'PUT'] as const) {
        const response = await fetch(await url(verb), { method: 'DELETE', headers: { 'content-type': contentType } });
        expect([403, 405]).toContain(response.status);
        await response.text();
      }
      expect(await text()).toBe('signed bytes');
    });

    it('ends with its time', async () => {
      const [get, write] = await Promise.all([
        url('GET', { expiresInSeconds: 1 }),
        url('PUT', { expiresInSeconds: 1 }),
      ]);
      const refused = async (): Promise<Response | undefined> => {
        const response = await fetch(get);
        if (response.status === 403) return response;
        await response.text();
        return undefined;
      };
      await expectRefused(await until(refused, { what: 'the URL to expire' }));
      await expectRefused(await put(write));
      expect(await text()).toBe('signed bytes');
    });

    it.each([
      ['another key', (u: URL) => void (u.pathname += 'x')],
      ['a key above', (u: URL) => void (u.pathname = u.pathname.replace('/signed', '/%2e%2e/signed'))],
      ['a longer life', (u: URL) => bump(u, ['expires', 'X-Amz-Expires'])],
      ['another signature', (u: URL) => flip(u, ['sig', 'X-Amz-Signature'])],
      ['a cut signature', (u: URL) => cutParam(u, ['sig', 'X-Amz-Signature'])],
      ['no signature', (u: URL) => drop(u, ['sig', 'X-Amz-Signature'])],
      ['one more parameter', (u: URL) => u.searchParams.append('more', '1')],
      ['another version', (u: URL) => bump(u, ['v', 'X-Amz-Date'])],
    ])('refuses a URL changed to %s', async (_what, change) => {
      for (const verb of ['GET', 'PUT'] as const) {
        const changed = new URL(await url(verb));
        change(changed);
        await expectRefused(verb === 'GET' ? await fetch(changed) : await put(changed.href));
      }
      expect(await text()).toBe('signed bytes');
    });

    it('refuses an upload of another content type', async () => {
      await expectRefused(await put(await url('PUT'), 'text/html'));
      expect((await store.head(key))?.contentType).toBe(contentType);
    });

    it('takes an upload of exactly the size that it was made for', async () => {
      const target = `${key}.size`;
      const to = (): Promise<string> => url('PUT', { key: target, bytes: 1000 });
      await expectRefused(await put(await to(), contentType, Buffer.alloc(999)));
      await expectRefused(await put(await to(), contentType, Buffer.alloc(1001)));
      await expectRefused(await put(await to(), contentType, Buffer.alloc(3 * MIB)));
      await expectRefused(await put(await to(), contentType, ''));
      expect(await store.head(target)).toBeUndefined();
      expect((await put(await to(), contentType, Buffer.alloc(1000))).status).toBe(200);
      expect((await store.head(target))?.bytes).toBe(1000);
      const more = new URL(await to());
      bump(more, ['bytes', 'X-Amz-SignedHeaders', 'X-Amz-Expires']);
      await expectRefused(await put(more.href, contentType, Buffer.alloc(1001)));
    });

    it('an upload of unknown size is refused', async () => {
      const target = `${key}.unknown`;
      const body = ReadableStream.from([Buffer.alloc(500), Buffer.alloc(500)]);
      const to = await url('PUT', { key: target, bytes: 1000 });
      const headers = { 'content-type': contentType };
      const response = await fetch(to, { method: 'PUT', headers, body, duplex: 'half' });
      expect([400, 403, 411]).toContain(response.status);
      await response.text();
      expect(await store.head(target)).toBeUndefined();
    });

    it('an upload shorter than its Content-Length leaves nothing', async () => {
      const target = `${key}.short`;
      const to = new URL(await url('PUT', { key: target, bytes: 1000 }));
      await shortUpload(to, contentType);
      await until(async () => (await at.leftovers(target)).length === 0, { what: 'the unfinished upload to go' });
      expect(await store.head(target)).toBeUndefined();
    });

    it('lives 1 second to 7 days, and a PUT names its content type and size', async () => {
      for (const expiresInSeconds of [0, -1, 604_801, 1.5])
        expect(await failure(url('GET', { expiresInSeconds }))).toBe('bad-expiry');
      const write = { key, verb: 'PUT', expiresInSeconds: 60 } as const;
      expect(await failure(store.signedUrl({ ...write, bytes: 1 }, 'client'))).toBe('bad-type');
      for (const bytes of [undefined, -1, 0.5, Number.NaN, 5 * 1024 ** 3 + 1]) {
        const request = { ...write, contentType, ...(bytes === undefined ? {} : { bytes }) };
        expect(await failure(store.signedUrl(request, 'client'))).toBe('bad-size');
      }
    });
  });
}

const present = (url: URL, names: readonly string[]): string => names.find((name) => url.searchParams.has(name)) ?? '';

/** The next number; of a date its last second. */
function bump(url: URL, names: readonly string[]): void {
  const name = present(url, names);
  const value = url.searchParams.get(name) ?? '';
  url.searchParams.set(
    name,
    value.replace(/\d(?=\D*$)/, (digit) => String((Number(digit) + 1) % 10)),
  );
}

function flip(url: URL, names: readonly string[]): void {
  const name = present(url, names);
  const value = url.searchParams.get(name) ?? '';
  url.searchParams.set(name, (value.startsWith('a') ? 'b' : 'a') + value.slice(1));
}

function cutParam(url: URL, names: readonly string[]): void {
  const name = present(url, names);
  url.searchParams.set(name, (url.searchParams.get(name) ?? '').slice(0, -2));
}

function drop(url: URL, names: readonly string[]): void {
  url.searchParams.delete(present(url, names));
}

/** Announces 1000 bytes, sends 10 and hangs up; resolves when the connection is closed. */
function shortUpload(url: URL, contentType: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(Number(url.port), url.hostname, () => {
      const head = [
        `PUT ${url.pathname}${url.search} HTTP/1.1`,
        `Host: ${url.host}`,
        `Content-Type: ${contentType}`,
        'Content-Length: 1000',
      ];
      socket.end(`${head.join('\r\n')}\r\n\r\n0123456789`);
    });
    socket.on('error', reject).on('close', () => resolve());
    socket.resume();
  });
}
