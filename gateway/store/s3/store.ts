// SPDX-License-Identifier: Apache-2.0
import { Readable } from 'node:stream';
import type { GetObjectCommandOutput, S3Client } from '@aws-sdk/client-s3';
import { PAGE_MAX, checkContentType, checkSize, checkUrlRequest, meter, pageSize } from '../body.ts';
import { storeError } from '../errors.ts';
import { LAYOUT_KEY, checkKey, checkPrefix } from '../keys.ts';
import type {
  ByteRange,
  ListedObject,
  ObjectInfo,
  ObjectPage,
  ObjectStore,
  PutOptions,
  SignedUrlRequest,
  StoredObject,
} from '../object-store.ts';
import { createClient, loadSdk } from './client.ts';
import { isAbsent, lostCreate, mapS3Error } from './errors.ts';
import { ensureBucket, openLayout } from './layout.ts';
import { checkS3Options } from './options.ts';
import type { S3StoreOptions } from './options.ts';
import { putBytes, putStream } from './put.ts';

interface S3Place {
  readonly client: S3Client;
  readonly bucket: string;
  readonly prefix: string;
}

/**
 * A bucket, or a prefix of one, on any S3 server. A bucket should have a lifecycle rule that ends incomplete multipart uploads: those of
 * a gateway killed in the middle of a put are invisible, but take room.
 * @throws StoreError `layout` for a prefix written by another version, `unavailable` when it cannot be reached; TypeError for bad options
 */
export async function openS3Store(options: S3StoreOptions): Promise<ObjectStore> {
  checkS3Options(options);
  const { bucket, prefix = '', clock } = options;
  const client = await createClient(options, options.endpoint);
  // Signs only, never connects.
  const publicClient = await createClient(options, options.publicEndpoint);
  const place: S3Place = { client, bucket, prefix };
  const close = async (): Promise<void> => {
    client.destroy();
    publicClient.destroy();
  };
  try {
    if (options.createBucket) await ensureBucket(client, bucket);
    await openLayout(client, bucket, prefix);
  } catch (err) {
    await close();
    throw mapS3Error(`cannot open s3://${bucket}/${prefix} at ${options.endpoint}`, err);
  }
  return {
    put: async (key, body, put) => storeObject(place, checkKey(key), body, put, clock.now()),
    get: async (key, range) => readObject(place, checkKey(key), range),
    head: async (key) => headObject(place, checkKey(key)),
    list: async (prefix, { cursor = '', limit } = {}) =>
      listPage(place, checkPrefix(prefix), checkPrefix(cursor), pageSize(limit)),
    delete: async (keys) => removeObjects(place, keys.map(checkKey)),
    signedUrl: async (request, audience) =>
      sign(audience === 'client' ? { ...place, client: publicClient } : place, request),
    ping: async () => {
      const { HeadBucketCommand } = await loadSdk();
      await client.send(new HeadBucketCommand({ Bucket: bucket })).catch((err: unknown) => {
        throw mapS3Error(`bucket ${bucket} at ${options.endpoint}`, err);
      });
    },
    close,
  };
}

async function storeObject(
  place: S3Place,
  key: string,
  body: Readable | Uint8Array,
  { contentType, createOnly = false, maxBytes }: PutOptions,
  now: number,
): Promise<ObjectInfo> {
  const conditions = createOnly ? { IfNoneMatch: '*' } : {};
  const params = { ...target(place, key), ContentType: checkContentType(contentType), ...conditions };
  const metered = meter(body, maxBytes);
  try {
    if (body instanceof Uint8Array) await putBytes(place.client, params, checkSize(body, maxBytes));
    else await putStream(place.client, params, metered);
    return { key, bytes: body instanceof Uint8Array ? body.length : metered.bytes(), contentType, modifiedAt: now };
  } catch (err) {
    if (metered.failure() !== undefined) throw metered.failure();
    if (createOnly && (await lost(place, key, err))) throw storeError('exists', `object ${key} exists`, { cause: err });
    throw mapS3Error(`cannot store object ${key}`, err);
  }
}

/** A contended create is lost only if somebody's object is there now; else the caller may try again. */
async function lost(place: S3Place, key: string, err: unknown): Promise<boolean> {
  const how = lostCreate(err);
  return how === 'lost' || (how === 'contended' && (await headObject(place, key)) !== undefined);
}

async function readObject(place: S3Place, key: string, range: ByteRange | undefined): Promise<StoredObject> {
  const { GetObjectCommand } = await loadSdk();
  const Range = range && rangeHeader(range);
  try {
    const answer = await place.client.send(new GetObjectCommand({ ...target(place, key), ...(Range && { Range }) }));
    const { Body: body } = answer;
    if (!(body instanceof Readable)) throw new TypeError('the answer has no body');
    return { info: infoOf(key, answer), body };
  } catch (err) {
    throw mapS3Error(`cannot read object ${key}`, err);
  }
}

function rangeHeader({ start, end }: ByteRange): string {
  const valid = [start, end ?? start].every((n) => Number.isSafeInteger(n) && n >= 0) && (end ?? start) >= start;
  if (valid) return `bytes=${start}-${end ?? ''}`;
  throw storeError('bad-range', `bytes ${start}-${end ?? ''} is no range`, { field: 'range' });
}

async function headObject(place: S3Place, key: string): Promise<ObjectInfo | undefined> {
  const { HeadObjectCommand } = await loadSdk();
  try {
    return infoOf(key, await place.client.send(new HeadObjectCommand(target(place, key))));
  } catch (err) {
    if (isAbsent(err)) return undefined;
    throw mapS3Error(`cannot read object ${key}`, err);
  }
}

type ObjectFacts = Pick<GetObjectCommandOutput, 'ContentType' | 'ContentLength' | 'LastModified' | 'ContentRange'>;

function infoOf(key: string, facts: ObjectFacts): ObjectInfo {
  // Of a range, Content-Length is the part; Content-Range ends with the whole.
  const whole = /\/(\d+)$/.exec(facts.ContentRange ?? '')?.[1];
  return {
    key,
    bytes: whole === undefined ? (facts.ContentLength ?? 0) : Number(whole),
    contentType: facts.ContentType ?? 'application/octet-stream',
    modifiedAt: facts.LastModified?.getTime() ?? 0,
  };
}

async function listPage(place: S3Place, prefix: string, after: string, limit: number): Promise<ObjectPage> {
  const { ListObjectsV2Command } = await loadSdk();
  const answer = await place.client
    .send(
      new ListObjectsV2Command({
        Bucket: place.bucket,
        Prefix: `${place.prefix}${prefix}`,
        MaxKeys: limit,
        // Our own cursor, the last key seen, survives the server's restart; its token may not.
        ...(after && { StartAfter: `${place.prefix}${after}` }),
      }),
    )
    .catch((err: unknown) => {
      throw mapS3Error('cannot list objects', err);
    });
  const found = (answer.Contents ?? []).map((entry): ListedObject => {
    const key = (entry.Key ?? '').slice(place.prefix.length);
    return { key, bytes: entry.Size ?? 0, modifiedAt: entry.LastModified?.getTime() ?? 0 };
  });
  const objects = found.filter(({ key }) => key !== LAYOUT_KEY);
  const last = found.at(-1);
  return { objects, ...(answer.IsTruncated && last && { cursor: last.key }) };
}

async function removeObjects(place: S3Place, keys: readonly string[]): Promise<void> {
  const { DeleteObjectsCommand } = await loadSdk();
  for (let from = 0; from < keys.length; from += PAGE_MAX) {
    const Objects = keys.slice(from, from + PAGE_MAX).map((key) => ({ Key: `${place.prefix}${key}` }));
    const answer = await place.client
      .send(new DeleteObjectsCommand({ Bucket: place.bucket, Delete: { Objects, Quiet: true } }))
      .catch((err: unknown) => {
        throw mapS3Error('cannot delete objects', err);
      });
    const first = answer.Errors?.find(({ Code }) => Code !== 'NoSuchKey');
    if (first)
      throw storeError(
        'unavailable',
        `cannot delete ${answer.Errors?.length} objects, the first for: ${first.Code} ${first.Message}`,
      );
  }
}

async function sign(place: S3Place, request: SignedUrlRequest): Promise<string> {
  checkUrlRequest(request);
  const where = target(place, checkKey(request.key));
  const { GetObjectCommand, PutObjectCommand } = await loadSdk();
  const { getSignedUrl } = await import('@aws-sdk/s3-request-presigner');
  const expiresIn = request.expiresInSeconds;
  if (request.verb === 'GET') return getSignedUrl(place.client, new GetObjectCommand(where), { expiresIn });
  const command = new PutObjectCommand({ ...where, ContentType: request.contentType, ContentLength: request.bytes });
  // The SDK leaves type and size unsigned unless told; then an upload could choose its own.
  const signableHeaders = new Set(['content-length', 'content-type', 'host']);
  return getSignedUrl(place.client, command, { expiresIn, signableHeaders });
}

function target(place: S3Place, key: string): { Bucket: string; Key: string } {
  return { Bucket: place.bucket, Key: `${place.prefix}${key}` };
}
