// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isStoreError } from '#gateway/store/errors.ts';
import { bodyKey, resultKey } from '#gateway/store/keys.ts';
import type { ObjectStore } from '#gateway/store/object-store.ts';
import { APP, MIB, cut, failure, sha } from './object-store.harness.ts';
import type { StoreHarness } from './object-store.harness.ts';

const STREAMED_BYTES = 512 * MIB;
/** Well below the stream, above what a Node with the SDK and uncollected buffers takes (170 to 250 MiB seen). */
const RSS_LIMIT_MIB = 320;
const ID = '01920000-0000-7000-8000-000000000001';

export function objectStoreSuite(name: string, open: () => Promise<StoreHarness>): void {
  describe(`object store: ${name}`, () => {
    let at: StoreHarness;
    let store: ObjectStore;
    beforeAll(async () => {
      at = await open();
      store = at.store;
    });
    afterAll(() => at.close());

    const read = async (key: string, range?: { start: number; end?: number }): Promise<Buffer> =>
      buffer((await store.get(key, range)).body);

    describe('bytes and content type', () => {
      const types = ['application/octet-stream', 'text/plain; charset="utf-8"', 'image/png', 'x/y;a=b+c%20&d=e'];
      const sizes = [0, 1, 16 * 1024, 5 * MIB + 1, 40 * MIB];
      for (const [index, size] of sizes.entries()) {
        const contentType = types[index % types.length] ?? '';
        for (const how of ['bytes', 'stream'] as const) {
          it(`${size} bytes put as ${how} come back unchanged, also around the driver`, async () => {
            const bytes = randomBytes(size);
            const key = `v1/${APP}/same/${size}.${how}`;
            const body = how === 'bytes' ? bytes : Readable.from(cut(bytes, 60_000), { objectMode: false });
            const put = await store.put(key, body, { contentType });
            expect(put).toMatchObject({ key, bytes: size, contentType });
            const { info, body: back } = await store.get(key);
            expect(info).toMatchObject({ key, bytes: size, contentType });
            expect(sha(await buffer(back))).toBe(sha(bytes));
            expect(await store.head(key)).toMatchObject({ key, bytes: size, contentType });
            const raw = await at.raw(key);
            expect([sha(raw.bytes), raw.contentType]).toEqual([sha(bytes), contentType]);
          });
        }
      }

      it('a put over an object replaces bytes and content type together', async () => {
        const key = bodyKey(APP, ID);
        await store.put(key, Buffer.from('old and long'), { contentType: 'text/old' });
        await store.put(key, Buffer.from('new'), { contentType: 'text/new' });
        const { info, body } = await store.get(key);
        expect([info.contentType, info.bytes, (await buffer(body)).toString()]).toEqual(['text/new', 3, 'new']);
      });

      it.each([[''], ['text/plain\r\nx-evil: 1'], [' text/plain'], ['text/plän'], ['x'.repeat(256)]])(
        'refuses the content type %j',
        async (contentType) => {
          expect(await failure(store.put(`v1/${APP}/type`, Buffer.from('x'), { contentType }))).toBe('bad-type');
        },
      );

      it('an absent object is undefined for head and not-found for get', async () => {
        expect(await store.head(`v1/${APP}/absent`)).toBeUndefined();
        expect(await failure(store.get(`v1/${APP}/absent`))).toBe('not-found');
      });

      it('streams 512 MiB in and out with flat memory in a process with a small heap', async () => {
        const child = new URL('./object-store.child.ts', import.meta.url).pathname;
        const args = ['--max-old-space-size=48', child, JSON.stringify(at.child), String(STREAMED_BYTES)];
        const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 110_000 });
        const seen = JSON.parse(stdout) as { put: string; got: string; bytes: number; rssMiB: number };
        expect(seen).toMatchObject({ bytes: STREAMED_BYTES, got: seen.put });
        expect(seen.rssMiB).toBeLessThan(RSS_LIMIT_MIB);
      }, 120_000);
    });

    describe('create-only', () => {
      for (const [what, size] of [
        ['small', 100],
        ['multipart', 9 * MIB],
      ] as const) {
        it(`of 8 parallel ${what} puts exactly one wins, and its bytes are there`, async () => {
          const key = `v1/${APP}/race/${what}`;
          const bodies = Array.from({ length: 8 }, () => randomBytes(size));
          const outcomes = await Promise.allSettled(
            bodies.map((bytes, i) =>
              store.put(key, what === 'small' ? bytes : Readable.from(cut(bytes, MIB), { objectMode: false }), {
                contentType: `text/writer-${i}`,
                createOnly: true,
              }),
            ),
          );
          const winners = outcomes.flatMap((outcome, i) => (outcome.status === 'fulfilled' ? [i] : []));
          const losses = outcomes.flatMap((outcome) =>
            outcome.status === 'rejected' ? [outcome.reason as unknown] : [],
          );
          expect(winners).toHaveLength(1);
          expect(losses.filter((err) => !isStoreError(err, 'exists'))).toEqual([]);
          const winner = winners[0] ?? -1;
          const { info, body } = await store.get(key);
          expect([info.contentType, sha(await buffer(body))]).toEqual([`text/writer-${winner}`, sha(bodies[winner]!)]);
          expect(await at.leftovers(key)).toEqual([]);
        });
      }

      it('refuses an existing key and leaves its object alone; works again after a delete', async () => {
        const key = `v1/${APP}/once`;
        const createOnly = { contentType: 'text/plain', createOnly: true };
        await store.put(key, Buffer.from('first'), createOnly);
        expect(await failure(store.put(key, Buffer.from('second'), createOnly))).toBe('exists');
        expect((await read(key)).toString()).toBe('first');
        await store.delete([key]);
        await store.put(key, Buffer.from('third'), createOnly);
        expect((await read(key)).toString()).toBe('third');
      });
    });

    describe('ranges', () => {
      const key = `v1/${APP}/ranged`;
      const bytes = randomBytes(1000);
      beforeAll(async () => {
        await store.put(key, bytes, { contentType: 'text/plain' });
        await store.put(`${key}.empty`, Buffer.alloc(0), { contentType: 'text/plain' });
      });

      it.each([
        [{ start: 0 }, 0, 1000],
        [{ start: 0, end: 0 }, 0, 1],
        [{ start: 10, end: 19 }, 10, 20],
        [{ start: 999 }, 999, 1000],
        [{ start: 990, end: 5000 }, 990, 1000],
      ])('%j gives its bytes and the size of the whole', async (range, from, to) => {
        const { info, body } = await store.get(key, range);
        expect(info.bytes).toBe(1000);
        expect((await buffer(body)).equals(bytes.subarray(from, to))).toBe(true);
      });

      it.each([[{ start: 1000 }], [{ start: -1 }], [{ start: 5, end: 4 }], [{ start: 0.5 }], [{ start: Number.NaN }]])(
        '%j is bad-range',
        async (range) => {
          expect(await failure(store.get(key, range))).toBe('bad-range');
        },
      );

      it('no range fits an empty object', async () => {
        expect(await failure(store.get(`${key}.empty`, { start: 0 }))).toBe('bad-range');
      });
    });

    describe('listing', () => {
      const base = `v1/${APP}/listed/`;
      // Around the slash: '-' and '.' sort before it, digits and letters after. No object is named like another's folder: MinIO hides
      // what lies below such an object (a limit of its file layout), and no key of ours does.
      const names = ['a-b', 'a.b', 'a/b', 'a/c/d', 'a/c.d', 'a0', 'ab', 'b/x', 'B', '_', 'z/1', 'z/10', 'z/2'];
      const keys = names.map((name) => base + name).sort();
      beforeAll(async () => {
        for (const key of keys) await store.put(key, Buffer.from(key), { contentType: 'text/plain' });
      });
      const all = async (prefix: string, limit: number): Promise<{ keys: string[]; pages: number }> => {
        const found: string[] = [];
        let cursor: string | undefined;
        let pages = 0;
        do {
          const page = await store.list(prefix, { limit, ...(cursor !== undefined && { cursor }) });
          expect(page.objects.length).toBeLessThanOrEqual(limit);
          found.push(...page.objects.map(({ key }) => key));
          cursor = page.cursor;
          pages++;
        } while (cursor !== undefined);
        return { keys: found, pages };
      };

      it.each([1, 2, 4, 7, 1000])(
        'in pages of %i names every key once, in the order of its characters',
        async (limit) => {
          const seen = await all(base, limit);
          expect(seen.keys).toEqual(keys);
          expect(seen.pages).toBeGreaterThanOrEqual(Math.ceil(keys.length / limit));
        },
      );

      it.each(['a', 'a/', 'a/b', 'z/1', 'nothing', 'b/x'])('takes a prefix that ends anywhere: %s', async (prefix) => {
        expect((await all(base + prefix, 2)).keys).toEqual(keys.filter((key) => key.startsWith(base + prefix)));
      });

      it('tells size and time, and never the marker of the layout', async () => {
        const page = await store.list(base, { limit: 3 });
        expect(page.objects[0]?.bytes).toBe(page.objects[0]?.key.length);
        expect(Math.abs(Date.now() - (page.objects[0]?.modifiedAt ?? 0))).toBeLessThan(120_000);
        expect((await all('', 1000)).keys.filter((key) => key.endsWith('layout.json'))).toEqual([]);
      });

      it('takes page sizes of 1 to 1000 only', async () => {
        for (const limit of [0, 1001, 1.5]) expect(await failure(store.list(base, { limit }))).toBe('bad-limit');
      });
    });

    describe('delete', () => {
      it('removes what is named, keeps the rest, and may be repeated', async () => {
        const keys = [1, 2, 3].map((epoch) => resultKey(APP, ID, { epoch, nonce: '0123456789abcdef' }));
        for (const key of keys) await store.put(key, Buffer.from('x'), { contentType: 'text/plain' });
        const gone = [keys[0]!, keys[1]!, `v1/${APP}/never/there`];
        await store.delete(gone);
        await store.delete(gone);
        await store.delete([]);
        expect(await Promise.all(keys.map(async (key) => (await store.head(key)) !== undefined))).toEqual([
          false,
          false,
          true,
        ]);
      });

      it('more than one page of keys in one call', async () => {
        const keys = Array.from({ length: 1001 }, (_, i) => `v1/${APP}/many/${i}`);
        const kept = [keys[0]!, keys[1000]!];
        for (const key of kept) await store.put(key, Buffer.from('x'), { contentType: 'text/plain' });
        await store.delete(keys);
        expect((await store.list(`v1/${APP}/many/`)).objects).toEqual([]);
      });
    });

    describe('keys', () => {
      const bad = [
        '',
        '/',
        'a//b',
        '/a',
        'a/',
        '.',
        '..',
        '../x',
        'a/../../x',
        'a/./b',
        'a b',
        'a\\b',
        'a\0b',
        'ä',
        'a%2e',
        'a=b',
        'a~',
        'layout.json',
        'x'.repeat(201),
        'a/'.repeat(300) + 'b',
      ];
      it.each(bad.map((key) => [key]))('refuses %j everywhere', async (key) => {
        expect(await failure(store.put(key, Buffer.from('x'), { contentType: 'text/plain' }))).toBe('bad-key');
        expect(await failure(store.get(key))).toBe('bad-key');
        expect(await failure(store.head(key))).toBe('bad-key');
        expect(await failure(store.delete([`v1/${APP}/fine`, key]))).toBe('bad-key');
        expect(await failure(store.signedUrl({ key, verb: 'GET', expiresInSeconds: 60 }, 'worker'))).toBe('bad-key');
      });
      it('refuses a bad prefix', async () => {
        expect(await failure(store.list('../'))).toBe('bad-key');
      });
    });

    describe('interrupted puts', () => {
      for (const [what, before] of [
        ['first bytes', 100],
        ['second part', 12 * MIB],
      ] as const) {
        it(`a body that fails in its ${what} leaves nothing, and its own error comes through`, async () => {
          const key = `v1/${APP}/broken/${before}`;
          const failure = new Error('the client went away');
          const body = Readable.from(
            (function* () {
              yield* cut(randomBytes(before), MIB);
              throw failure;
            })(),
            { objectMode: false },
          );
          await expect(store.put(key, body, { contentType: 'text/plain' })).rejects.toBe(failure);
          expect(await store.head(key)).toBeUndefined();
          expect(await at.leftovers(key)).toEqual([]);
        });
      }

      it('a failing put over an object leaves the old one', async () => {
        const key = `v1/${APP}/kept`;
        await store.put(key, Buffer.from('old'), { contentType: 'text/plain' });
        const body = Readable.from(cut(randomBytes(11 * MIB), MIB), { objectMode: false });
        expect(await failure(store.put(key, body, { contentType: 'text/plain', maxBytes: 10 * MIB }))).toBe(
          'too-large',
        );
        body.destroy();
        expect((await read(key)).toString()).toBe('old');
        expect(await at.leftovers(key)).toEqual([]);
      });

      it('maxBytes counts to the byte, for bytes and streams', async () => {
        const key = `v1/${APP}/exact`;
        const put = (bytes: number, stream: boolean): Promise<unknown> => {
          const body = randomBytes(bytes);
          return store.put(key, stream ? Readable.from([body], { objectMode: false }) : body, {
            contentType: 'text/plain',
            maxBytes: 10,
          });
        };
        for (const stream of [true, false]) {
          expect(await failure(put(11, stream))).toBe('too-large');
          expect(await store.head(key)).toBeUndefined();
        }
        for (const stream of [true, false]) await put(10, stream);
        expect((await store.head(key))?.bytes).toBe(10);
      });
    });

    it('answers a ping', () => expect(store.ping()).resolves.toBeUndefined());
  });
}
