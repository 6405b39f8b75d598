// SPDX-License-Identifier: Apache-2.0
import type { OutgoingHttpHeaders } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGunzip, gunzip } from 'node:zlib';
import { gatewayError, storeUnavailable } from '../errors.ts';
import { answerBytes } from '../http/answer.ts';
import { ClientGone } from '../http/client-gone.ts';
import type { Exchange } from '../http/exchange.ts';
import type { Payload } from '../queue/lease-queue.ts';
import type { ToldOutcome } from '../queue/request-outcome.ts';
import type { ObjectStore } from '../store/object-store.ts';

const inflate = promisify(gunzip);
/** A small result that inflates beyond this is streamed: 16 KiB of gzip may become 16 MiB, times the readers. */
const INLINE_INFLATED_MAX = 256 * 1024;

/** A result is a model's output, not a page of ours: a browser must neither guess its type nor run it in our origin. */
const GUARD = {
  'x-content-type-options': 'nosniff',
  'content-security-policy': 'sandbox',
  'cache-control': 'private, no-store',
};

/**
 * 200 with the bytes that the worker stored and their own content type; gzip goes out as it is to a client that takes it.
 * @throws ProblemError 500, 503
 */
export async function answerResult(
  x: Exchange,
  record: ToldOutcome,
  store: ObjectStore,
  given: OutgoingHttpHeaders,
): Promise<void> {
  const { result } = record;
  if (result === undefined) throw resultLost();
  const stored = result.contentEncoding === 'gzip';
  const passthrough = stored && acceptsGzip(x.req.headers['accept-encoding']);
  const headers: OutgoingHttpHeaders = {
    ...given,
    ...GUARD,
    'content-type': result.contentType,
    'penstock-attempts': record.attempts.length,
    ...(record.serviceMicros === undefined ? {} : { 'penstock-service-micros': record.serviceMicros }),
    ...(stored ? { vary: 'Accept-Encoding' } : {}),
    ...(passthrough ? { 'content-encoding': 'gzip' } : {}),
  };
  const inflated = stored && !passthrough;
  if (result.key === undefined) return await answerInline(x, result, headers, inflated);
  await answerObject(x, result.key, result, store, headers, inflated);
}

async function answerInline(
  x: Exchange,
  result: Payload,
  headers: OutgoingHttpHeaders,
  inflated: boolean,
): Promise<void> {
  const bytes = result.inline ?? new Uint8Array();
  if (!inflated) return answerBytes(x, 200, headers, bytes);
  const whole = await inflate(bytes, { maxOutputLength: INLINE_INFLATED_MAX }).catch((err: unknown) => {
    if (err instanceof RangeError) return undefined;
    throw brokenResult(err);
  });
  if (whole !== undefined) return answerBytes(x, 200, headers, whole);
  await stream(x, headers, Readable.from([bytes]), true);
}

async function answerObject(
  x: Exchange,
  key: string,
  result: Payload,
  store: ObjectStore,
  headers: OutgoingHttpHeaders,
  inflated: boolean,
): Promise<void> {
  let body: Readable;
  try {
    ({ body } = await store.get(key));
  } catch (err) {
    if (err instanceof Error && 'code' in err && err.code === 'not-found') throw resultLost(err);
    throw storeUnavailable(err);
  }
  if (x.res.destroyed) {
    // pipeline() refuses such a response and leaves its source alone, and with it one of the store's few connections for ever.
    body.destroy();
    throw new ClientGone('the connection ended before the result could be sent');
  }
  // Streamed: without a length when inflated, since it is known only at the end.
  const length = inflated ? {} : { 'content-length': result.bytes };
  await stream(x, { ...headers, ...length }, body, inflated);
}

async function stream(x: Exchange, headers: OutgoingHttpHeaders, body: Readable, inflated: boolean): Promise<void> {
  x.res.writeHead(200, { ...headers, 'x-request-id': x.requestId });
  if (x.req.method === 'HEAD') {
    body.destroy();
    x.res.end();
    return;
  }
  await (inflated ? pipeline(body, createGunzip(), x.res) : pipeline(body, x.res));
}

/** RFC 9110 §12.5.3, as far as gzip goes: named or by `*`, not with q=0, and not when identity is named and preferred. */
export function acceptsGzip(header: string | string[] | undefined): boolean {
  if (header === undefined) return false;
  const weights = new Map<string, number>();
  for (const part of String(header).split(',')) {
    const [coding = '', ...params] = part.split(';').map((piece) => piece.trim().toLowerCase());
    const q = params.find((param) => param.startsWith('q='))?.slice(2);
    weights.set(coding === 'x-gzip' ? 'gzip' : coding, q === undefined ? 1 : Number(q));
  }
  const gzip = weights.get('gzip') ?? weights.get('*') ?? 0;
  return gzip > 0 && gzip >= (weights.get('identity') ?? 0);
}

function resultLost(cause?: unknown): Error {
  return gatewayError('request-lost', 'the record says succeeded and its result is gone', {
    fix: 'send the request again; tell the operators of this gateway',
    cause,
  });
}

function brokenResult(cause: unknown): Error {
  return gatewayError('handler-failed', 'the worker said that its result is gzip, and it cannot be inflated', {
    fix: 'ask with Accept-Encoding: gzip for the bytes as they are; correct the handler',
    cause,
  });
}
