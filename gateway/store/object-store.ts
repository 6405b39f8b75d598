// SPDX-License-Identifier: Apache-2.0
import type { Readable } from 'node:stream';

/** What a listing tells of an object; its content type takes a `head` (S3 does not list it). */
export interface ListedObject {
  readonly key: string;
  readonly bytes: number;
  /** Unix ms. */
  readonly modifiedAt: number;
}

/** Facts of a stored object; `bytes` is the whole object's size, also when a range of it was asked for. */
export interface ObjectInfo extends ListedObject {
  readonly contentType: string;
}

export interface PutOptions {
  /** Printable ASCII, at most 255 characters: it goes into an HTTP header. */
  readonly contentType: string;
  /** Refuse with `exists` when an object of this key is already there; of many at once exactly one wins. */
  readonly createOnly?: boolean;
  /** Refuse with `too-large` once the body has more bytes than this. */
  readonly maxBytes?: number;
}

/** Byte range, both ends inclusive; an end beyond the object means its last byte (RFC 9110 §14.1.2). */
export interface ByteRange {
  readonly start: number;
  readonly end?: number;
}

export interface SignedUrlRequest {
  readonly key: string;
  readonly verb: 'GET' | 'PUT';
  /** 1 … 604 800 (seven days, the most that S3 signs for). */
  readonly expiresInSeconds: number;
  /** Required for PUT: part of what is signed, so the upload must send exactly this Content-Type. */
  readonly contentType?: string;
  /** Required for PUT: part of what is signed, so the upload must have exactly this Content-Length; at most 5 GiB, S3's bound of one PUT. */
  readonly bytes?: number;
}

export interface ObjectPage {
  readonly objects: readonly ListedObject[];
  /** Hand it back to go on; absent at the end. */
  readonly cursor?: string;
}

export interface StoredObject {
  readonly info: ObjectInfo;
  /** Holds a descriptor or a pooled connection: read it to its end or destroy it. */
  readonly body: Readable;
}

/**
 * Bodies and results beyond 16 KiB. Drivers: `local` (files, URLs signed with HMAC and served by the gateway) and `s3`.
 * Keys are built by `keys.ts` from checked parts only; a driver refuses any key outside [A-Za-z0-9._/-] or with an empty, `.` or `..` segment.
 * An error of a body that is being put comes through unchanged; it is its producer's, not the store's. A put that fails does not destroy
 * the body: its owner ends it.
 * @throws StoreError (see `errors.ts`): `not-found`, `exists`, `bad-key`, `bad-type`, `bad-range`, `bad-expiry`, `bad-size`, `too-large` or `unavailable`
 */
export interface ObjectStore {
  /** Streams; memory stays flat whatever the size. Visible only when complete. */
  put(key: string, body: Readable | Uint8Array, options: PutOptions): Promise<ObjectInfo>;
  get(key: string, range?: ByteRange): Promise<StoredObject>;
  head(key: string): Promise<ObjectInfo | undefined>;
  /** Keys in lexical order; `limit` 1 … 1 000 (the default). */
  list(prefix: string, options?: { readonly cursor?: string; readonly limit?: number }): Promise<ObjectPage>;
  /** Deleting what is not there is fine. */
  delete(keys: readonly string[]): Promise<void>;
  /** A URL that carries its own permission for one verb on one object. `audience`: 'client' uses the public endpoint. */
  signedUrl(request: SignedUrlRequest, audience: 'client' | 'worker'): Promise<string>;
  /** Throws when the store can't be reached: readiness. */
  ping(): Promise<void>;
  close(): Promise<void>;
}
