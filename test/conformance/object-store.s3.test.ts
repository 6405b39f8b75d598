// SPDX-License-Identifier: Apache-2.0
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { Client } from 'minio';
import { describe, expect, inject, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { isStoreError } from '#gateway/store/errors.ts';
import { openS3Store } from '#gateway/store/open.ts';
import type { S3StoreOptions } from '#gateway/store/open.ts';
import { until } from '#test/until.ts';
import { objectStoreSuite } from './object-store.suite.ts';
import { signedUrlSuite } from './object-store-urls.suite.ts';
import type { StoreHarness } from './object-store.harness.ts';

const { s3 } = inject('servers');
const endpoint = new URL(s3.endpoint);
/** The same server by another name: tells a client's URL from a worker's. */
const publicEndpoint = s3.endpoint.replace('127.0.0.1', 'localhost');
const options = (prefix: string): Omit<S3StoreOptions, 'clock'> => ({ ...s3, publicEndpoint, prefix });
const open = (changes: Partial<S3StoreOptions>): ReturnType<typeof openS3Store> =>
  openS3Store({ ...options(''), clock: systemClock, ...changes });

const failed = (call: Promise<unknown>): Promise<unknown> =>
  call.then(
    () => undefined,
    (err: unknown) => err,
  );

/** Another implementation of S3's protocol than the driver's. */
const independent = new Client({
  endPoint: endpoint.hostname,
  port: Number(endpoint.port),
  useSSL: false,
  accessKey: s3.accessKeyId,
  secretKey: s3.secretAccessKey,
});

async function openHarness(): Promise<StoreHarness> {
  const prefix = `suite-${process.pid}/deep/`;
  const store = await open({ prefix });
  return {
    store,
    clientOrigin: publicEndpoint,
    workerOrigin: s3.endpoint,
    raw: async (key) => {
      const { metaData } = await independent.statObject(s3.bucket, prefix + key);
      const bytes = await buffer(await independent.getObject(s3.bucket, prefix + key));
      return { bytes, contentType: String(metaData['content-type']) };
    },
    // MinIO lists unfinished uploads of one whole key only.
    leftovers: async (key) => {
      const found: string[] = [];
      for await (const upload of independent.listIncompleteUploads(s3.bucket, prefix + key, true))
        found.push(String(upload.key));
      return found;
    },
    child: { driver: 's3', options: options(`child-${process.pid}/`) },
    refusal: { statuses: [400, 403], type: /^application\/xml/ },
    close: () => store.close(),
  };
}

objectStoreSuite('s3', openHarness);
signedUrlSuite('s3', openHarness);

describe('s3 driver', () => {
  it('reads what an independent client wrote', async () => {
    const prefix = `foreign-${process.pid}/`;
    const store = await open({ prefix });
    await independent.putObject(s3.bucket, `${prefix}v1/a/b`, Buffer.from('theirs'), 6, {
      'content-type': 'text/theirs',
    });
    const { info, body } = await store.get('v1/a/b');
    expect([info.contentType, (await buffer(body)).toString()]).toEqual(['text/theirs', 'theirs']);
    await store.close();
  });

  it('a multipart upload shows nothing while it runs, and a failing body ends it', async () => {
    const at = await openHarness();
    const key = 'v1/a/parts';
    const gate = Promise.withResolvers<void>();
    const body = Readable.from(
      (async function* () {
        yield Buffer.alloc(12 * 1024 * 1024);
        await gate.promise;
      })(),
      { objectMode: false },
    );
    const put = failed(at.store.put(key, body, { contentType: 'text/plain' }));
    await until(async () => (await at.leftovers(key)).length > 0, { what: 'the upload to begin' });
    expect(await at.store.head(key)).toBeUndefined();
    gate.reject(new Error('gone'));
    expect(await put).toEqual(new Error('gone'));
    expect(await at.leftovers(key)).toEqual([]);
    await at.close();
  });

  it('two prefixes of one bucket do not see each other', async () => {
    const [one, two] = await Promise.all([open({ prefix: 'one/' }), open({ prefix: 'two/' })]);
    await one.put('v1/a/x', Buffer.from('1'), { contentType: 'text/plain' });
    expect(await two.head('v1/a/x')).toBeUndefined();
    expect((await two.list('')).objects).toEqual([]);
    expect((await one.list('')).objects.map(({ key }) => key)).toEqual(['v1/a/x']);
    await Promise.all([one.close(), two.close()]);
  });

  it('refuses to open a prefix of another layout', async () => {
    const prefix = `future-${process.pid}/`;
    await independent.putObject(
      s3.bucket,
      `${prefix}layout.json`,
      JSON.stringify({ layout: 'penstock-objects', version: 2 }),
    );
    await expect(open({ prefix })).rejects.toSatisfy((err) => isStoreError(err, 'layout'));
  });

  it('eight gateways opening a fresh prefix at once agree', async () => {
    const prefix = `fresh-${process.pid}/`;
    const stores = await Promise.all(Array.from({ length: 8 }, () => open({ prefix })));
    await Promise.all(stores.map((store) => store.close()));
    expect((await independent.statObject(s3.bucket, `${prefix}layout.json`)).size).toBeGreaterThan(10);
  });

  it('makes its bucket when told to', async () => {
    const bucket = `made-${process.pid}`;
    await expect(open({ bucket })).rejects.toThrow('the bucket does not exist');
    const stores = await Promise.all([open({ bucket, createBucket: true }), open({ bucket, createBucket: true })]);
    expect(await independent.bucketExists(bucket)).toBe(true);
    await Promise.all(stores.map((store) => store.close()));
  });

  it.each([
    ['wrong credentials', { secretAccessKey: 'not-the-secret' }, /refuses our credentials/],
    ['a closed port', { endpoint: 'http://127.0.0.1:9' }, /ECONNREFUSED/],
  ])('says what is wrong: %s', async (_what, changes, message) => {
    const failure = await failed(open(changes));
    expect(isStoreError(failure, 'unavailable')).toBe(true);
    expect(String(failure)).toMatch(message);
  });

  it.each([
    [{ endpoint: 'localhost:9000' }, /^endpoint: /],
    [{ publicEndpoint: 'http://user@host/' }, /^publicEndpoint: /],
    [{ bucket: 'Not A Bucket' }, /^bucket: /],
    [{ prefix: '../' }, /^prefix: /],
    [{ region: '' }, /^region: /],
  ])('refuses the option %j by name', async (changes, message) => {
    await expect(open(changes)).rejects.toThrow(message);
  });
});
