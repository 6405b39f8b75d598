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

/** POST /internal/v1/{call}. @throws BrokerUnavailable for network trouble, 5xx, 408 and 429 */
export interface BrokerTransport {
  post(call: string, options: PostOptions): Promise<BrokerAnswer>;
  close(): Promise<void>;
}

/** A long poll, heartbeats and a new session: what keeps the unit alive never waits for what it delivers. */
const VITAL_CALLS: ReadonlySet<string> = new Set(['token', 'lease', 'extend']);
const VITAL_CONNECTIONS = 6;
/** Deliveries at once: large results that hang because the object store is away take no connection from the others for long. */
const DELIVERY_CONNECTIONS = 12;
/** The gateway is there and wants the same call later: it had no time for the body, or too many of them. */
const TRY_AGAIN: ReadonlySet<number> = new Set([408, 429]);
const CONNECT_TIMEOUT_MS = 5_000;
/** 128 leases with 16 KiB inline each, as base64, with room for the rest. */
const ANSWER_LIMIT_BYTES = 8 * 1024 * 1024;

export function createTransport(origin: string): BrokerTransport {
  const open = (connections: number): Pool =>
    new Pool(new URL(origin).origin, { connections, pipelining: 1, connect: { timeout: CONNECT_TIMEOUT_MS } });
  const vital = open(VITAL_CONNECTIONS);
  const deliveries = open(DELIVERY_CONNECTIONS);
  return {
    post: async (call, options) => {
      const response = await send(VITAL_CALLS.has(call) ? vital : deliveries, call, options);
      const text = await readText(call, response.body);
      if (response.statusCode >= 500 || TRY_AGAIN.has(response.statusCode))
        throw new BrokerUnavailable(call, `${response.statusCode} ${detailOf(parse(text))}`);
      return { status: response.statusCode, body: parse(text) };
    },
    close: async () => {
      await Promise.all([vital.destroy(), deliveries.destroy()]);
    },
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
