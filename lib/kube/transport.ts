// SPDX-License-Identifier: Apache-2.0
import { request } from 'undici';
import type { Dispatcher } from 'undici';
import type { PooledKubeConfig } from './pooled-config.ts';
import { KubeError, NO_ANSWER, errorFromAnswer } from './errors.ts';
import { orAbort } from './or-abort.ts';

/** Default time for one call, connection included. The API server's own limit is 60 s; ours is lower so that a worker is freed. */
export const CALL_DEADLINE_MS = 30_000;
/** Part of a failed watch's error body that is read. */
const MAX_ERROR_BODY = 64 * 1024;

export interface CallOptions {
  /** The caller's own reason to stop; the call then rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
  /** Milliseconds for the whole call (default 30 s); then KubeError `DeadlineExceeded`. */
  readonly deadlineMs?: number | undefined;
  /** Use the uncapped pool, so that the call cannot wait behind others (lease renewal). */
  readonly urgent?: boolean | undefined;
}

export interface Call extends CallOptions {
  readonly method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Path from the server's root, already encoded. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>> | undefined;
  readonly body?: unknown;
  readonly contentType?: string | undefined;
}

/** HTTP to one API server: JSON in, raw JSON out (no model in between that could drop a field), errors as KubeError. */
export interface Transport {
  call(call: Call): Promise<unknown>;
  /** Opens a streamed answer; the stream ends when `signal` aborts. No deadline: silence is the reader's to judge. */
  stream(call: Omit<Call, 'deadlineMs' | 'urgent' | 'signal'>, signal: AbortSignal): Promise<AsyncIterable<Buffer>>;
  close(): Promise<void>;
}

/** @param userAgent names the program in the API server's audit log */
export function createTransport(config: PooledKubeConfig, userAgent = 'penstock'): Transport {
  const server = config.getCurrentCluster()?.server;
  if (!server) throw new TypeError('kubeconfig: the current context names no cluster');
  const base = server.replace(/\/+$/, '');

  const open = async (call: Call, signal: AbortSignal, pool: 'calls' | 'streams'): Promise<Dispatcher.ResponseData> => {
    // An exec plugin or token file may hang; the deadline holds for that, too.
    const { headers, pools } = await orAbort(config.security(), signal);
    return request(base + call.path + queryString(call.query), {
      method: call.method,
      dispatcher: pools[pool],
      signal,
      headers: {
        ...headers,
        accept: 'application/json',
        'user-agent': userAgent,
        ...(call.body === undefined ? {} : { 'content-type': call.contentType ?? 'application/json' }),
      },
      body: call.body === undefined ? null : JSON.stringify(call.body),
    });
  };
  return {
    call: async (call) => {
      const limit = deadlineOf(call);
      try {
        const answer = await open(call, limit.signal, call.urgent ? 'streams' : 'calls');
        return parse(call, answer, await answer.body.text());
      } catch (err) {
        throw limit.explain(err);
      } finally {
        limit.clear();
      }
    },
    stream: async (call, signal) => {
      try {
        const answer = await open(call, signal, 'streams');
        // Aborted before anybody reads, it fails with nobody listening, which would end the process.
        answer.body.on('error', () => {});
        if (answer.statusCode === 200) return answer.body as AsyncIterable<Buffer>;
        throw errorFromAnswer(nameOf(call), answer.statusCode, await excerpt(answer), headerOf(answer, 'retry-after'));
      } catch (err) {
        throw signal.aborted ? signal.reason : asKubeError(call, err);
      }
    },
    close: () => config.close(),
  };
}

interface Deadline {
  readonly signal: AbortSignal;
  explain(err: unknown): unknown;
  clear(): void;
}

/** One timer per call, cleared with it; AbortSignal.timeout + any() would keep both alive until the time has passed. */
function deadlineOf(call: Call): Deadline {
  const controller = new AbortController();
  const ms = call.deadlineMs ?? CALL_DEADLINE_MS;
  const late = new KubeError(`${nameOf(call)}: no answer within ${ms} ms`, { status: 0, reason: NO_ANSWER.deadline });
  const timer = setTimeout(() => controller.abort(late), ms);
  const outer = call.signal;
  const onAbort = (): void => controller.abort(outer?.reason);
  if (outer?.aborted) onAbort();
  else outer?.addEventListener('abort', onAbort, { once: true });
  return {
    signal: controller.signal,
    explain: (err) => (controller.signal.aborted ? controller.signal.reason : asKubeError(call, err)),
    clear: () => {
      clearTimeout(timer);
      outer?.removeEventListener('abort', onAbort);
    },
  };
}

function parse(call: Call, answer: Dispatcher.ResponseData, text: string): unknown {
  if (answer.statusCode >= 300) {
    throw errorFromAnswer(nameOf(call), answer.statusCode, text, headerOf(answer, 'retry-after'));
  }
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new KubeError(`${nameOf(call)}: the answer is no JSON`, { status: 0, reason: NO_ANSWER.malformed, cause });
  }
}

function asKubeError(call: Pick<Call, 'method' | 'path'>, err: unknown): unknown {
  if (err instanceof KubeError) return err;
  const message = `${nameOf(call)}: ${err instanceof Error ? err.message : String(err)}`;
  return new KubeError(message, { status: 0, reason: NO_ANSWER.connection, cause: err });
}

async function excerpt(answer: Dispatcher.ResponseData): Promise<string> {
  let text = '';
  for await (const chunk of answer.body) {
    text += String(chunk);
    if (text.length > MAX_ERROR_BODY) break;
  }
  return text;
}

function headerOf(answer: Dispatcher.ResponseData, name: string): string | undefined {
  const value = answer.headers[name];
  return typeof value === 'string' ? value : undefined;
}

function nameOf(call: Pick<Call, 'method' | 'path'>): string {
  return `${call.method} ${call.path}`;
}

function queryString(query: Call['query']): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) if (value !== undefined) search.set(name, String(value));
  const text = search.toString();
  return text === '' ? '' : `?${text}`;
}
