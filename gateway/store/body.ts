// SPDX-License-Identifier: Apache-2.0
import { Readable } from 'node:stream';
import type { ProblemError } from '#base/problem.ts';
import { storeError } from './errors.ts';
import type { ByteRange, SignedUrlRequest } from './object-store.ts';

/** Seven days: what S3's signature allows, so the same in every driver. */
const URL_LIFETIME_MAX_SECONDS = 7 * 24 * 3600;
/** Largest upload through one signed URL: what S3 takes in one PUT, so that every driver has the same bound. */
const PUT_LIMIT_BYTES = 5 * 1024 ** 3;
/** One listing of S3 holds at most this many keys. */
export const PAGE_MAX = 1000;
const CONTENT_TYPE = /^[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?$/;

/** A body on its way into a store: counted, held to its limit, and its own failure told apart from the store's. */
export interface MeteredBody {
  readonly chunks: AsyncGenerator<Buffer, void, undefined>;
  bytes(): number;
  /** Why the body itself failed, or undefined: then an error is the store's. */
  failure(): unknown;
}

/** Reads `body` chunk by chunk; stops with `too-large` at the first byte beyond `maxBytes`. */
export function meter(body: Readable | Uint8Array, maxBytes = Number.POSITIVE_INFINITY): MeteredBody {
  let bytes = 0;
  let failure: unknown;
  async function* chunks(): AsyncGenerator<Buffer, void, undefined> {
    try {
      for await (const chunk of pieces(body)) {
        const piece = asBuffer(chunk);
        bytes += piece.length;
        if (bytes > maxBytes) throw tooLarge(maxBytes);
        if (piece.length > 0) yield piece;
      }
    } catch (err) {
      failure = err;
      throw err;
    }
  }
  return { chunks: chunks(), bytes: () => bytes, failure: () => failure };
}

/** Not destroyed when a put stops reading: an HTTP request that is destroyed could no longer be answered. */
function pieces(body: Readable | Uint8Array): AsyncIterable<unknown> | Iterable<unknown> {
  return body instanceof Uint8Array ? [body] : body.iterator({ destroyOnReturn: false });
}

export function tooLarge(maxBytes: number): ProblemError {
  return storeError('too-large', `the body has more than ${maxBytes} bytes`, { field: 'body' });
}

/** @throws StoreError `too-large` */
export function checkSize(body: Uint8Array, maxBytes = Number.POSITIVE_INFINITY): Uint8Array {
  if (body.length > maxBytes) throw tooLarge(maxBytes);
  return body;
}

/** @throws StoreError `bad-type` when the content type could not travel in a header unchanged. */
export function checkContentType(contentType: string): string {
  if (CONTENT_TYPE.test(contentType)) return contentType;
  throw storeError('bad-type', 'a content type has 1 to 255 printable ASCII characters, no blank at either end', {
    field: 'contentType',
  });
}

/** The first and last byte that a range means in an object of `bytes`. @throws StoreError `bad-range` */
export function resolveRange(range: ByteRange | undefined, bytes: number): { start: number; end: number } {
  if (range === undefined) return { start: 0, end: bytes - 1 };
  const end = Math.min(range.end ?? bytes - 1, bytes - 1);
  const fits = Number.isSafeInteger(range.start) && range.start >= 0 && range.start < bytes && end >= range.start;
  if (fits) return { start: range.start, end };
  throw storeError('bad-range', `bytes ${range.start}-${range.end ?? ''} are not in an object of ${bytes} bytes`, {
    field: 'range',
  });
}

/** @throws StoreError `bad-expiry`, or `bad-type` or `bad-size` for a PUT without its content type or size */
export function checkUrlRequest(request: SignedUrlRequest): void {
  const { expiresInSeconds: seconds } = request;
  if (!Number.isSafeInteger(seconds) || seconds < 1 || seconds > URL_LIFETIME_MAX_SECONDS) {
    throw storeError(
      'bad-expiry',
      `a signed URL lives 1 to ${URL_LIFETIME_MAX_SECONDS} whole seconds, not ${seconds}`,
      {
        field: 'expiresInSeconds',
      },
    );
  }
  if (request.verb === 'PUT') checkUpload(request);
}

function checkUpload({ contentType = '', bytes = -1 }: SignedUrlRequest): void {
  checkContentType(contentType);
  if (Number.isSafeInteger(bytes) && bytes >= 0 && bytes <= PUT_LIMIT_BYTES) return;
  throw storeError('bad-size', `a signed upload has 0 to ${PUT_LIMIT_BYTES} whole bytes, not ${bytes}`, {
    field: 'bytes',
  });
}

/** @throws StoreError `bad-limit` */
export function pageSize(limit = PAGE_MAX): number {
  if (Number.isSafeInteger(limit) && limit >= 1 && limit <= PAGE_MAX) return limit;
  throw storeError('bad-limit', `a page has 1 to ${PAGE_MAX} objects, not ${limit}`, { field: 'limit' });
}

function asBuffer(chunk: unknown): Buffer {
  if (Buffer.isBuffer(chunk)) return chunk;
  if (chunk instanceof Uint8Array) return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  if (typeof chunk === 'string') return Buffer.from(chunk);
  throw new TypeError('a body yields bytes or strings');
}

/** A readable of nothing. */
export function emptyBody(): Readable {
  return Readable.from([], { objectMode: false });
}
