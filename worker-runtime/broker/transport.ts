// SPDX-License-Identifier: Apache-2.0
import { Pool } from 'undici';
import type { Dispatcher } from 'undici';
import { isObject } from '#base/json.ts';
import { BrokerUnavailable } from '../errors.ts';

/** An answer of the gateway below 500. */
export interface BrokerAnswer {
  readonly status: number;
  readonly body: unknown;
}

export interface PostOptions {
  readonly token: string;
  readonly body?: unknown;
  /** How long the answer's head may take; the body must follow within the same time. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** POST /internal/v1/{call}. @throws BrokerUnavailable for network trouble, 5xx and 429 */
export interface BrokerTransport {
  post(call: string, options: PostOptions): Promise<BrokerAnswer>;
  close(): Promise<void>;
}

/** One long poll, a heartbeat and a handful of completions at once. */
const CONNECTIONS = 16;
const CONNECT_TIMEOUT_MS = 5_000;
/** 64 leases with 16 KiB inline each, as base64, with room for the rest. */
const ANSWER_LIMIT_BYTES = 8 * 1024 * 1024;

export function createTransport(origin: string): BrokerTransport {
  const pool = new Pool(new URL(origin).origin, {
    connections: CONNECTIONS,
    pipelining: 1,
    connect: { timeout: CONNECT_TIMEOUT_MS },
  });
  return {
    post: async (call, options) => {
      const response = await send(pool, call, options);
      const text = await readText(call, response.body);
      if (response.statusCode >= 500 || response.statusCode === 429)
        throw new BrokerUnavailable(call, `${response.statusCode} ${detailOf(parse(text))}`);
      return { status: response.statusCode, body: parse(text) };
    },
    close: () => pool.destroy(),
  };
}

async function send(pool: Pool, call: string, options: PostOptions): Promise<Dispatcher.ResponseData> {
  try {
    return await pool.request({
      path: `/internal/v1/${call}`,
      method: 'POST',
      headers: {
        authorization: `Bearer ${options.token}`,
        accept: 'application/json',
        ...(options.body === undefined ? {} : { 'content-type': 'application/json' }),
      },
      body: options.body === undefined ? null : JSON.stringify(options.body),
      headersTimeout: options.timeoutMs,
      bodyTimeout: options.timeoutMs,
      ...(options.signal ? { signal: options.signal } : {}),
    });
  } catch (err) {
    options.signal?.throwIfAborted();
    throw unavailable(call, err);
  }
}

async function readText(call: string, body: Dispatcher.ResponseData['body']): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > ANSWER_LIMIT_BYTES) throw new Error(`the answer has more than ${ANSWER_LIMIT_BYTES} bytes`);
      chunks.push(chunk);
    }
  } catch (err) {
    throw unavailable(call, err);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function unavailable(call: string, err: unknown): BrokerUnavailable {
  return new BrokerUnavailable(call, err instanceof Error ? err.message : String(err), { cause: err });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The sentence of a problem document. */
export function detailOf(body: unknown): string {
  if (!isObject(body)) return '';
  const { detail, title } = body;
  if (typeof detail === 'string') return detail;
  return typeof title === 'string' ? title : '';
}
