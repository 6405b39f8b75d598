// SPDX-License-Identifier: Apache-2.0
import { Agent, request } from 'undici';
import type { Dispatcher } from 'undici';
import type { AppDemandWire } from '#base/wire/demand.ts';
import { operatorError } from '../errors.ts';
import type { OperatorToken } from './operator-token.ts';
import { parseDemand } from './parse-demand.ts';
import { readWakeUps } from './wake-stream.ts';

/** One call, connection included. The gateway answers each of these in milliseconds; a reconcile must not wait for a dead one. */
const CALL_DEADLINE_MS = 5_000;
const CONNECT_TIMEOUT_MS = 3_000;
/** Few calls, many apps: more than the workers of all controllers are never in flight. */
const CONNECTIONS = 8;
/** Part of an error's body that goes into its message. */
const EXCERPT = 300;

export interface GatewayClient {
  /** Demand of every app that the gateway serves. */
  demand(): Promise<readonly AppDemandWire[]>;
  /** `busy`: the unit holds a live lease. `retired`: it can never lease again. */
  retire(appUid: string, unit: string): Promise<'retired' | 'busy'>;
  /** Closes the app and removes what it left in queue and object store, step by step. `pending`: call again. */
  purge(appUid: string): Promise<'done' | 'pending'>;
  /** One connection's worth of wake-ups: uids of apps whose demand may have changed: work came, or a unit came or went. Ends or throws when the stream does. */
  wakeUps(onWake: (appUid: string) => void, onOpen: () => void, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

export interface GatewayClientOptions {
  /** Origin of the gateway's internal port. */
  readonly url: string;
  readonly token: OperatorToken;
}

/** All errors are OperatorError `gateway-*`. */
export function createGatewayClient({ url, token }: GatewayClientOptions): GatewayClient {
  const base = `${url.replace(/\/+$/, '')}/internal/v1`;
  const agent = new Agent({ connections: CONNECTIONS, connect: { timeout: CONNECT_TIMEOUT_MS }, allowH2: false });
  const streams = new Agent({ connect: { timeout: CONNECT_TIMEOUT_MS }, bodyTimeout: 0, allowH2: false });

  const send = async (method: 'GET' | 'POST' | 'DELETE', path: string, body?: unknown): Promise<Answer> => {
    const attempt = async (): Promise<Answer> => {
      const headers = { authorization: `Bearer ${await token.current()}`, ...(body === undefined ? {} : JSON_TYPE) };
      const signal = AbortSignal.timeout(CALL_DEADLINE_MS);
      const answer = await request(base + path, { method, headers, dispatcher: agent, signal, body: textOf(body) });
      return { status: answer.statusCode, text: await answer.body.text() };
    };
    const answer = await reached(`${method} ${path}`, attempt);
    if (answer.status !== 401) return answer;
    // The gateway may have restarted, or not yet seen our new key: a token minted now decides.
    token.discard();
    return reached(`${method} ${path}`, attempt);
  };
  return {
    demand: async () => {
      const answer = await send('GET', '/demand');
      if (answer.status !== 200) throw refused('GET /demand', answer);
      return parseDemand(answer.text);
    },
    retire: async (appUid, unit) => {
      const path = `/units/${encodeURIComponent(unit)}/retire`;
      const answer = await send('POST', path, { app: appUid });
      if (answer.status === 409) return 'busy';
      if (answer.status >= 200 && answer.status < 300) return 'retired';
      throw refused(`POST ${path}`, answer);
    },
    purge: async (appUid) => {
      const path = `/apps/${encodeURIComponent(appUid)}`;
      const answer = await send('DELETE', path);
      if (answer.status === 204) return 'done';
      if (answer.status === 202) return 'pending';
      throw refused(`DELETE ${path}`, answer);
    },
    wakeUps: (onWake, onOpen, signal) =>
      openStream(`${base}/demand/stream`, streams, token, { onWake, onOpen, signal }),
    close: async () => {
      await Promise.all([agent.destroy(), streams.destroy()]);
    },
  };
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

const JSON_TYPE = { 'content-type': 'application/json' };

interface StreamHandlers {
  readonly onWake: (appUid: string) => void;
  readonly onOpen: () => void;
  readonly signal: AbortSignal;
}

async function openStream(url: string, agent: Agent, token: OperatorToken, handlers: StreamHandlers): Promise<void> {
  const { signal, onOpen, onWake } = handlers;
  const stream = await reached('GET /demand/stream', async (): Promise<Dispatcher.ResponseData> => {
    const headers = { authorization: `Bearer ${await token.current()}`, accept: 'text/event-stream' };
    return request(url, { headers, dispatcher: agent, signal, headersTimeout: CALL_DEADLINE_MS });
  });
  if (stream.statusCode !== 200) {
    if (stream.statusCode === 401) token.discard();
    throw refused('GET /demand/stream', { status: stream.statusCode, text: await stream.body.text() });
  }
  onOpen();
  await readWakeUps(stream.body, onWake, signal);
}

async function reached<T>(what: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (err) {
    const why = err instanceof Error && err.message !== '' ? err.message : String(err);
    throw operatorError('gateway-unreachable', `the gateway does not answer ${what}: ${why}`, err);
  }
}

function refused(what: string, { status, text }: Answer): Error {
  return operatorError('gateway-refused', `the gateway answered ${what} with ${status}: ${text.slice(0, EXCERPT)}`);
}

function textOf(body: unknown): string | null {
  return body === undefined ? null : JSON.stringify(body);
}
