// SPDX-License-Identifier: Apache-2.0
import type { Readable } from 'node:stream';

/** Facts of a stored object. */
export interface ObjectInfo {
  readonly key: string;
  readonly bytes: number;
  readonly contentType: string;
  readonly modifiedAt: number;
}

export interface PutOptions {
  readonly contentType: string;
  /** Refuse with `exists` when an object of this key is already there. */
  readonly createOnly?: boolean;
}

/** Byte range, both ends inclusive (RFC 9110 §14). */
export interface ByteRange {
  readonly start: number;
  readonly end?: number;
}

export interface SignedUrlRequest {
  readonly key: string;
  readonly verb: 'GET' | 'PUT';
  readonly expiresInSeconds: number;
  /** Required for PUT: part of what is signed. */
  readonly contentType?: string;
}

export interface ObjectPage {
  readonly objects: readonly ObjectInfo[];
  /** Hand it back to go on; absent at the end. */
  readonly cursor?: string;
}

/**
 * Bodies and results beyond 16 KiB. Drivers: `local` (files, URLs signed with HMAC and served by the gateway) and `s3`.
 * Keys are built by `keys.ts` from checked parts only; a driver refuses any key outside [A-Za-z0-9._/-] or with an empty, `.` or `..` segment.
 * @throws StoreError with code `not-found`, `exists`, `bad-key`, `bad-range` or `unavailable`
 */
export interface ObjectStore {
  /** Streams; memory stays flat whatever the size. Visible only when complete. */
  put(key: string, body: Readable | Uint8Array, options: PutOptions): Promise<ObjectInfo>;
  get(key: string, range?: ByteRange): Promise<{ readonly info: ObjectInfo; readonly body: Readable }>;
  head(key: string): Promise<ObjectInfo | undefined>;
  /** Keys in lexical order. */
  list(prefix: string, options?: { readonly cursor?: string; readonly limit?: number }): Promise<ObjectPage>;
  /** Deleting what is not there is fine. */
  delete(keys: readonly string[]): Promise<void>;
  /** A URL that carries its own permission for one verb on one object. `audience`: 'client' uses the public endpoint. */
  signedUrl(request: SignedUrlRequest, audience: 'client' | 'worker'): Promise<string>;
  /** Throws when the store can't be reached: readiness. */
  ping(): Promise<void>;
  close(): Promise<void>;
}
