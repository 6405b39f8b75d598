// SPDX-License-Identifier: Apache-2.0
import { Pool } from 'undici';
import type { Dispatcher } from 'undici';
import type { Clock } from '#base/clock.ts';
import type { WorkItem } from '../executor.ts';

export interface ModelServerOptions {
  readonly host: string;
  readonly port: number;
  readonly path: string;
  readonly method: string;
  /** '' = what the client sent. */
  readonly contentType: string;
  readonly healthPath: string;
  readonly connections: number;
}

export interface ModelAnswer {
  readonly status: number;
  readonly contentType: string;
  /** '' = none. */
  readonly contentEncoding: string;
  readonly body: Uint8Array;
}

/** The connection failed: `reached` tells whether the server can have begun to work on the request. */
export class ConnectionFailed extends Error {
  readonly reached: boolean;

  constructor(detail: string, reached: boolean, options?: ErrorOptions) {
    super(detail, options);
    this.name = 'ConnectionFailed';
    this.reached = reached;
  }
}

/** Largest result taken from a model server: it is held in memory until it is stored. */
const RESULT_LIMIT_BYTES = 256 * 1024 * 1024;
const HEALTH_TIMEOUT_MS = 5_000;

/** An unmodified HTTP server: one request in, its answer out. */
export class ModelServer {
  readonly #options: ModelServerOptions;
  readonly #pool: Pool;

  constructor(options: ModelServerOptions) {
    this.#options = options;
    const host = options.host.includes(':') ? `[${options.host}]` : options.host;
    // pipelining 0 = a connection per request: reusing one races with the server closing it, and a POST can't be sent twice.
    // No limit of time of its own: the request's timeout rules.
    this.#pool = new Pool(`http://${host}:${options.port}`, {
      connections: options.connections + 1,
      pipelining: 0,
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  /** Sends the body verbatim. @throws ConnectionFailed, or the signal's reason */
  async infer(item: WorkItem, signal: AbortSignal): Promise<ModelAnswer> {
    const { path, method, contentType } = this.#options;
    const headers = {
      'content-type': contentType === '' ? item.contentType : contentType,
      'accept-encoding': 'identity',
      ...(item.traceparent === undefined ? {} : { traceparent: item.traceparent }),
    };
    try {
      const response = await this.#pool.request({
        path,
        method,
        headers,
        body: item.body,
        signal,
      });
      return {
        status: response.statusCode,
        contentType: header(response, 'content-type') || 'application/octet-stream',
        contentEncoding: header(response, 'content-encoding'),
        body: await readAll(response.body),
      };
    } catch (err) {
      signal.throwIfAborted();
      const refused = codeOf(err) === 'ECONNREFUSED';
      throw new ConnectionFailed(err instanceof Error ? err.message : String(err), !refused, { cause: err });
    }
  }

  /** 'well' (2xx), 'unwell' (another answer, or none in time), or 'gone': nobody listens on the port. */
  async health(): Promise<'well' | 'unwell' | 'gone'> {
    try {
      const response = await this.#pool.request({
        path: this.#options.healthPath,
        method: 'GET',
        signal: AbortSignal.timeout(HEALTH_TIMEOUT_MS),
      });
      await response.body.dump();
      return response.statusCode >= 200 && response.statusCode < 300 ? 'well' : 'unwell';
    } catch (err) {
      return codeOf(err) === 'ECONNREFUSED' ? 'gone' : 'unwell';
    }
  }

  /** Resolves with true once it is well, with false when the time is up. Rejects with the signal's reason. */
  async wellWithin(ms: number, clock: Clock, signal: AbortSignal): Promise<boolean> {
    const until = clock.monotonic() + ms;
    for (let pauseMs = 20; ; pauseMs = Math.min(pauseMs * 2, 1_000)) {
      signal.throwIfAborted();
      if ((await this.health()) === 'well') return true;
      if (clock.monotonic() >= until) return false;
      await clock.sleep(pauseMs, signal);
    }
  }

  close(): Promise<void> {
    return this.#pool.destroy();
  }
}

function header(response: Dispatcher.ResponseData, name: string): string {
  const value = response.headers[name];
  return (Array.isArray(value) ? value[0] : value) ?? '';
}

function codeOf(err: unknown): unknown {
  return err instanceof Error && 'code' in err ? err.code : undefined;
}

async function readAll(body: Dispatcher.ResponseData['body']): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > RESULT_LIMIT_BYTES) throw new Error(`the result has more than ${RESULT_LIMIT_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
