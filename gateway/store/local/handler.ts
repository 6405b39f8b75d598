// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage, ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { Logger } from '#base/logger.ts';
import { ProblemError } from '#base/problem.ts';
import { resolveRange } from '../body.ts';
import { isStoreError, storeError } from '../errors.ts';
import type { ObjectInfo } from '../object-store.ts';
import { answerProblem } from './answer.ts';
import { parseRange } from './range-header.ts';
import type { LocalStore } from './store.ts';
import type { UrlGrant, UrlVerb } from './url.ts';

export interface LocalStoreHandlerOptions {
  readonly logger: Logger;
  /** Path before the key when nothing in front has cut it off (`/objects`); express cuts it when the handler is mounted with `use`. */
  readonly mount?: string;
}

/** Fits `http.createServer` and `express().use('/objects', …)`; answers every request itself. */
export type LocalStoreHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** Serves GET, HEAD and PUT of the local store's signed URLs; what is not validly signed never reaches the disk. */
export function createLocalStoreHandler(store: LocalStore, options: LocalStoreHandlerOptions): LocalStoreHandler {
  const { logger, mount = '' } = options;
  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const verb = verbOf(request.method);
    const { path, query } = split(request.url ?? '', mount);
    const grant = store.verifyUrl(verb, path, query);
    if (verb === 'PUT') await receive(store, grant, request, response);
    else await send(store, grant.key, request, response);
  };
  return (request, response) => {
    serve(request, response).catch(async (err: unknown) => {
      if (request.socket.destroyed && !response.headersSent) return;
      const problem = isStoreError(err)
        ? err
        : storeError('unavailable', 'the object could not be transferred', { cause: err });
      if (problem.status >= 500) logger.error({ err, method: request.method }, 'object request failed');
      await answerProblem(request, response, problem);
    });
  };
}

function verbOf(method: string | undefined): UrlVerb {
  if (method === 'GET' || method === 'HEAD') return 'GET';
  if (method === 'PUT') return 'PUT';
  throw storeError('wrong-method', `${method ?? 'no method'} is not served here`, {
    fix: 'use GET, HEAD or PUT',
    headers: { allow: 'GET, HEAD, PUT' },
  });
}

/** The raw path, never normalised: what was signed is compared character by character. */
function split(url: string, mount: string): { path: string; query: string } {
  const mark = url.indexOf('?');
  const path = mark < 0 ? url : url.slice(0, mark);
  const base = `${mount}/`;
  return { path: path.startsWith(base) ? path.slice(base.length) : '', query: mark < 0 ? '' : url.slice(mark + 1) };
}

async function send(store: LocalStore, key: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const info = await store.head(key);
  if (info === undefined) throw storeError('not-found', 'this object is gone, or was never stored');
  // If-Range with a validator that we never gave out: the whole object (RFC 9110 §13.1.5).
  const header = request.headers['if-range'] === undefined ? request.headers.range : undefined;
  const part = partOf(header, info);
  const { start, end } = resolveRange(part, info.bytes);
  const headers = {
    ...objectHeaders(info),
    'content-length': end - start + 1,
    ...(part && { 'content-range': `bytes ${start}-${end}/${info.bytes}` }),
  };
  if (request.method === 'HEAD') {
    response.writeHead(part ? 206 : 200, headers).end();
    return;
  }
  const { body, info: opened } = await store.get(key, part);
  if (opened.bytes !== info.bytes || opened.contentType !== info.contentType) {
    body.destroy();
    throw storeError('unavailable', 'the object was replaced while it was read', { fix: 'try again' });
  }
  response.writeHead(part ? 206 : 200, headers);
  // A reader that leaves early ends the pipeline with an error that nobody needs to hear of. One that had left before it began
  // makes pipeline() refuse, and then nobody else closes the file.
  await pipeline(body, response).catch(() => response.destroy());
  body.destroy();
}

function partOf(header: string | undefined, info: ObjectInfo): ReturnType<typeof parseRange> {
  try {
    const part = parseRange(header, info.bytes);
    if (part) resolveRange(part, info.bytes);
    return part;
  } catch (err) {
    if (!(err instanceof ProblemError)) throw err;
    throw storeError('bad-range', err.message, {
      field: 'header:Range',
      headers: { 'content-range': `bytes */${info.bytes}` },
    });
  }
}

/** The bytes are a stranger's: a browser must neither guess their type nor run them on the gateway's origin. */
function objectHeaders(info: ObjectInfo): Record<string, string> {
  return {
    'content-type': info.contentType,
    'accept-ranges': 'bytes',
    'last-modified': new Date(info.modifiedAt).toUTCString(),
    'cache-control': 'private, no-store',
    'x-content-type-options': 'nosniff',
    'content-security-policy': "sandbox; default-src 'none'",
  };
}

async function receive(
  store: LocalStore,
  { key, contentType, bytes }: UrlGrant,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  if (request.headers['content-type'] !== contentType) {
    throw storeError('forbidden', `this URL takes Content-Type ${contentType} only`, { field: 'header:Content-Type' });
  }
  // Announced, not counted: HTTP itself holds the body to its Content-Length, as it does in front of S3.
  if (request.headers['content-length'] !== String(bytes)) {
    throw storeError('forbidden', `this URL takes an upload of ${bytes} bytes only`, {
      field: 'header:Content-Length',
      fix: 'send the size that the URL was asked for',
    });
  }
  try {
    await store.put(key, request, { contentType });
  } catch (err) {
    if (isStoreError(err)) throw err;
    throw storeError('upload-interrupted', 'the upload ended before its last byte', { field: 'body', cause: err });
  }
  response.writeHead(200, { 'content-length': 0 }).end();
}
