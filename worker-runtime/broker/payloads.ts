// SPDX-License-Identifier: Apache-2.0
import { promisify } from 'node:util';
import { gunzip, gunzipSync } from 'node:zlib';
import { Agent } from 'undici';
import type { Dispatcher } from 'undici';
import type { Clock } from '#base/clock.ts';
import type { Random } from '#base/random.ts';
import { RESULT_INLINE_LIMIT_BYTES } from '#base/wire/broker.ts';
import type { UploadUrlReply, WireHeld, WirePayload, WireResult } from '#base/wire/broker.ts';
import { BrokerError, BrokerUnavailable } from '../errors.ts';
import { repeating } from './broker-client.ts';
import type { Broker } from './broker-client.ts';

/** Moves bytes between leases, results and signed URLs. */
export interface Payloads {
  /** The body's bytes at once when they came inline; undefined when they must be fetched. @throws BadEncoding */
  inline(payload: WirePayload): Uint8Array | undefined;
  /** @throws BadEncoding | BrokerUnavailable | BrokerError */
  fetch(payload: WirePayload, signal: AbortSignal): Promise<Uint8Array>;
  /** Puts bytes where the wire wants them: inline when small, else by an upload URL. */
  store(held: WireHeld, result: ResultBytes, signal?: AbortSignal): Promise<WireResult>;
  close(): Promise<void>;
}

export interface ResultBytes {
  readonly body: Uint8Array;
  readonly contentType: string;
  readonly contentEncoding?: string;
}

/** The body is not what its Content-Encoding says. */
export class BadEncoding extends Error {
  constructor(detail: string, options?: ErrorOptions) {
    super(detail, options);
    this.name = 'BadEncoding';
  }
}

/** The CRD's largest request.maxBytes: no body that the gateway took is larger once inflated. */
const INFLATED_LIMIT_BYTES = 1024 * 1024 * 1024;
const TRANSFER_TIMEOUT_MS = 60_000;
/** A signed URL lives for minutes; after this time another attempt at the request has better chances. */
const FETCH_LIMIT_MS = 60_000;

export interface PayloadDeps {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly random: Random;
}

export function createPayloads(deps: PayloadDeps): Payloads {
  const agent = new Agent({ connections: 16, headersTimeout: TRANSFER_TIMEOUT_MS, bodyTimeout: TRANSFER_TIMEOUT_MS });
  return {
    inline: (payload) => {
      if (payload.url !== undefined) return undefined;
      const bytes = Buffer.from(payload.inline ?? '', 'base64');
      // Inline bytes are few (16 KiB), so inflating them here keeps the requests of one reply together in one batch.
      return payload.content_encoding === 'gzip' ? inflating(() => gunzipSync(bytes, limits)) : bytes;
    },
    fetch: async (payload, signal) => {
      const bytes = await repeating(deps, () => download(agent, payload, signal), signal, FETCH_LIMIT_MS);
      if (payload.content_encoding !== 'gzip') return bytes;
      return inflating(() => promisify(gunzip)(bytes, limits));
    },
    store: async (held, result, signal) => {
      const described = {
        content_type: result.contentType,
        ...(result.contentEncoding === undefined ? {} : { content_encoding: result.contentEncoding }),
        bytes: result.body.length,
      };
      if (result.body.length <= RESULT_INLINE_LIMIT_BYTES)
        return { ...described, inline: bufferOf(result.body).toString('base64') };
      // A new URL for each try: one that a lost answer left behind may be create-only.
      const name = await repeating(deps, () => uploadOnce(deps.broker, agent, held, result, signal), signal);
      return { ...described, name };
    },
    close: () => agent.destroy(),
  };
}

const limits = { maxOutputLength: INFLATED_LIMIT_BYTES };

function inflating<T>(inflate: () => T): T {
  const bad = (err: unknown): BadEncoding => new BadEncoding('the body is not valid gzip', { cause: err });
  try {
    const inflated = inflate();
    if (inflated instanceof Promise) {
      return inflated.catch((err: unknown) => {
        throw bad(err);
      }) as T;
    }
    return inflated;
  } catch (err) {
    throw bad(err);
  }
}

async function download(agent: Agent, payload: WirePayload, signal: AbortSignal): Promise<Uint8Array> {
  const response = await exchange(agent, 'body', { url: payload.url ?? '', method: 'GET', signal });
  if (response.statusCode !== 200) {
    await response.body.dump();
    throw refusal('body', response.statusCode);
  }
  const bytes = Buffer.allocUnsafe(payload.bytes);
  let size = 0;
  try {
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      if (size + chunk.length > bytes.length) break;
      bytes.set(chunk, size);
      size += chunk.length;
    }
  } catch (err) {
    throw new BrokerUnavailable('body', 'the transfer broke off', { cause: err });
  }
  // The transfer ended as it should: the object is another one than was promised, and stays so.
  if (size !== bytes.length) throw new BrokerError('body', 200, `got ${size} of ${bytes.length} bytes`);
  return bytes;
}

async function uploadOnce(
  broker: Broker,
  agent: Agent,
  held: WireHeld,
  result: ResultBytes,
  signal?: AbortSignal,
): Promise<string> {
  const { contentType, contentEncoding, body } = result;
  const encoding = contentEncoding === undefined ? {} : { content_encoding: contentEncoding };
  const minted: UploadUrlReply = await broker.uploadUrl(
    { ...held, content_type: contentType, ...encoding, bytes: body.length },
    signal,
  );
  const response = await exchange(agent, 'upload', {
    url: minted.url,
    method: 'PUT',
    headers: minted.headers,
    body: result.body,
    signal,
  });
  await response.body.dump();
  if (response.statusCode >= 300) throw refusal('upload', response.statusCode);
  return minted.name;
}

interface Exchange {
  readonly url: string;
  readonly method: 'GET' | 'PUT';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
  readonly signal: AbortSignal | undefined;
}

async function exchange(agent: Agent, what: string, call: Exchange): Promise<Dispatcher.ResponseData> {
  const url = new URL(call.url);
  try {
    return await agent.request({
      origin: url.origin,
      path: url.pathname + url.search,
      method: call.method,
      ...(call.headers ? { headers: { ...call.headers } } : {}),
      ...(call.body ? { body: call.body } : {}),
      ...(call.signal ? { signal: call.signal } : {}),
    });
  } catch (err) {
    call.signal?.throwIfAborted();
    throw new BrokerUnavailable(what, err instanceof Error ? err.message : String(err), { cause: err });
  }
}

/** 403 is what a URL gets that expired, or whose key was changed meanwhile: no word about the bytes. The next one may do. */
const TRY_AGAIN = new Set([403, 408, 429]);

function refusal(what: string, status: number): Error {
  return status >= 500 || TRY_AGAIN.has(status)
    ? new BrokerUnavailable(what, `the store answered ${status}`)
    : new BrokerError(what, status, 'the store refused the signed URL');
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
