// SPDX-License-Identifier: Apache-2.0
import { access, constants, open, stat, unlink } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Clock } from '#base/clock.ts';
import type { Random } from '#base/random.ts';
import { checkContentType, checkUrlRequest, emptyBody, meter, pageSize, resolveRange } from '../body.ts';
import { storeError, unavailable } from '../errors.ts';
import { checkKey, checkPrefix } from '../keys.ts';
import type { ByteRange, ListedObject, ObjectInfo, ObjectPage, ObjectStore, StoredObject } from '../object-store.ts';
import { isCode, objectPath, pruneEmpty, syncFolder } from './files.ts';
import { HEADER_BYTES, readHeader } from './format.ts';
import { openFolders } from './layout.ts';
import { createUrlSigner } from './url.ts';
import type { UrlGrant, UrlVerb } from './url.ts';
import { walkKeys } from './walk.ts';
import { writeObject } from './write.ts';
import type { Folders } from './write.ts';

/** Read-ahead of a streamed body: large enough for a disk, small enough for a thousand readers. */
const READ_CHUNK_BYTES = 128 * 1024;

export interface LocalStoreOptions {
  /** Folder of the store; made when absent. One process at a time. */
  readonly root: string;
  /** At least 32 random bytes, kept: URLs signed with another key are refused. */
  readonly signingKey: Uint8Array;
  /** Where `createLocalStoreHandler` is reached, by clients and by workers: `http://127.0.0.1:8080/objects`. */
  readonly clientUrl: string;
  readonly workerUrl: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** Files under a folder; signed URLs are served by `createLocalStoreHandler`. */
export interface LocalStore extends ObjectStore {
  /** What a signed URL permits. @throws StoreError `forbidden` */
  verifyUrl(verb: UrlVerb, path: string, query: string): UrlGrant;
}

/** @throws StoreError `layout` for a folder written by another version, `unavailable` for one that cannot be used */
export async function openLocalStore(options: LocalStoreOptions): Promise<LocalStore> {
  const { clock, random } = options;
  const signer = createUrlSigner(options.signingKey);
  const bases = { client: trimSlash(options.clientUrl), worker: trimSlash(options.workerUrl) };
  const folders = await openFolders(options.root, random);
  const { objects } = folders;
  return {
    put: async (key, body, { contentType, createOnly = false, maxBytes }) => {
      checkKey(key);
      checkContentType(contentType);
      const metered = meter(body, maxBytes);
      await writeObject(folders, random, key, metered, { contentType, createOnly });
      return { key, bytes: metered.bytes(), contentType, modifiedAt: clock.now() };
    },
    get: async (key, range) => readObject(objects, checkKey(key), range),
    head: async (key) => headObject(objects, checkKey(key)),
    list: async (prefix, { cursor = '', limit } = {}) =>
      listPage(objects, checkPrefix(prefix), checkPrefix(cursor), pageSize(limit)),
    delete: async (keys) => removeObjects(objects, keys.map(checkKey)),
    signedUrl: async (request, audience) => {
      checkUrlRequest(request);
      const expires = Math.ceil(clock.now() / 1000) + request.expiresInSeconds;
      const { verb, contentType = '', bytes = 0 } = request;
      const upload = verb === 'PUT' ? { contentType, bytes } : { contentType: '', bytes: 0 };
      return `${bases[audience]}/${signer.sign({ verb, key: checkKey(request.key), expires, ...upload })}`;
    },
    verifyUrl: (verb, path, query) => signer.verify(verb, path, query, clock.now()),
    ping: () => checkWritable(folders),
    close: async () => {},
  };
}

async function readObject(objects: string, key: string, range: ByteRange | undefined): Promise<StoredObject> {
  const handle = await openObject(objects, key);
  if (handle === undefined) throw storeError('not-found', `no object ${key}`);
  try {
    const info = await infoOf(handle, key);
    const { start, end } = resolveRange(range, info.bytes);
    if (end >= start) {
      const place = { start: HEADER_BYTES + start, end: HEADER_BYTES + end, highWaterMark: READ_CHUNK_BYTES };
      return { info, body: handle.createReadStream(place) };
    }
    await handle.close();
    return { info, body: emptyBody() };
  } catch (err) {
    await handle.close();
    throw unavailable(`cannot read object ${key}`, err);
  }
}

async function headObject(objects: string, key: string): Promise<ObjectInfo | undefined> {
  const handle = await openObject(objects, key);
  if (handle === undefined) return undefined;
  try {
    return await infoOf(handle, key);
  } catch (err) {
    throw unavailable(`cannot read object ${key}`, err);
  } finally {
    await handle.close();
  }
}

async function openObject(objects: string, key: string): Promise<FileHandle | undefined> {
  try {
    return await open(objectPath(objects, key), 'r');
  } catch (err) {
    if (isCode(err, 'ENOENT', 'ENOTDIR')) return undefined;
    throw unavailable(`cannot read object ${key}`, err);
  }
}

/** Header and size through one descriptor: a rename in between shows the old object whole or the new one whole. */
async function infoOf(handle: FileHandle, key: string): Promise<ObjectInfo> {
  const contentType = await readHeader(handle, key);
  const { size, mtimeMs } = await handle.stat();
  return { key, bytes: size - HEADER_BYTES, contentType, modifiedAt: Math.floor(mtimeMs) };
}

async function listPage(objects: string, prefix: string, after: string, limit: number): Promise<ObjectPage> {
  const found: ListedObject[] = [];
  try {
    for await (const key of walkKeys(objects, prefix, after)) {
      const last = found.at(-1);
      if (found.length === limit && last !== undefined) return { objects: found, cursor: last.key };
      const facts = await stat(objectPath(objects, key)).catch((err: unknown) => {
        if (isCode(err, 'ENOENT')) return undefined;
        throw err;
      });
      if (facts) found.push({ key, bytes: facts.size - HEADER_BYTES, modifiedAt: Math.floor(facts.mtimeMs) });
    }
  } catch (err) {
    throw unavailable('cannot list objects', err);
  }
  return { objects: found };
}

async function removeObjects(objects: string, keys: readonly string[]): Promise<void> {
  const folders = new Set<string>();
  const ignoreAbsent = (err: unknown): void => {
    if (!isCode(err, 'ENOENT', 'ENOTDIR')) throw err;
  };
  try {
    for (const key of keys) {
      const path = objectPath(objects, key);
      folders.add(dirname(path));
      await unlink(path).catch(ignoreAbsent);
    }
    for (const folder of folders) {
      // Flushed before the caller forgets the keys: an object that comes back after a power cut would stay for ever.
      await syncFolder(folder).catch(ignoreAbsent);
      await pruneEmpty(folder, objects);
    }
  } catch (err) {
    throw unavailable('cannot delete objects', err);
  }
}

async function checkWritable(folders: Folders): Promise<void> {
  try {
    for (const folder of [folders.objects, folders.temporary]) await access(folder, constants.R_OK | constants.W_OK);
  } catch (err) {
    throw unavailable('the object store cannot be used', err);
  }
}

function trimSlash(url: string): string {
  const parsed = new URL(url);
  if (/^https?:$/.test(parsed.protocol) && !parsed.search && !parsed.hash) return url.replace(/\/+$/, '');
  throw new TypeError(`${url} is no base URL for objects: http or https, without a query`);
}
