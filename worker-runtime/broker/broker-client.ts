// SPDX-License-Identifier: Apache-2.0
import { backoffDelay } from '#base/backoff.ts';
import type { BackoffPolicy } from '#base/backoff.ts';
import type { Clock } from '#base/clock.ts';
import type { Random } from '#base/random.ts';
import type {
  CompleteCall,
  CompleteReply,
  ExtendCall,
  ExtendReply,
  FailCall,
  FailReply,
  LeaseCall,
  LeaseReply,
  ReleaseCall,
  ReleaseReply,
  UploadUrlCall,
  UploadUrlReply,
} from '#base/wire/broker.ts';
import { isObject } from '#base/json.ts';
import { BrokerError, BrokerUnavailable, TokenRefused } from '../errors.ts';
import type { Session } from './session.ts';
import { detailOf } from './transport.ts';
import type { BrokerTransport } from './transport.ts';

/**
 * The broker's calls. All throw TokenRefused, BrokerError (4xx) or BrokerUnavailable. `lease` and `extend` are tried once, since their
 * loops come back by themselves; the others carry a lease token, which makes a repeat harmless, and are repeated for as long as
 * REPEAT_LIMIT_MS: a restart of the gateway costs time, not work.
 */
export interface Broker {
  lease(call: LeaseCall, signal: AbortSignal): Promise<LeaseReply>;
  extend(call: ExtendCall, timeoutMs: number): Promise<ExtendReply>;
  complete(call: CompleteCall, signal?: AbortSignal): Promise<CompleteReply>;
  fail(call: FailCall, signal?: AbortSignal): Promise<FailReply>;
  release(call: ReleaseCall, signal?: AbortSignal): Promise<ReleaseReply>;
  uploadUrl(call: UploadUrlCall, signal?: AbortSignal): Promise<UploadUrlReply>;
}

export interface BrokerDeps {
  readonly transport: BrokerTransport;
  readonly session: Session;
  readonly clock: Clock;
  readonly random: Random;
}

const CALL_TIMEOUT_MS = 15_000;
/** On top of the time that a lease call waits for work: the way there and back, and a slow queue. */
const LEASE_MARGIN_MS = 15_000;
export const BROKER_BACKOFF: BackoffPolicy = { firstMs: 100, maxMs: 5_000, factor: 2 };
/** A result that could not be delivered in this time has long been computed elsewhere. */
const REPEAT_LIMIT_MS = 15 * 60_000;

export function createBroker(deps: BrokerDeps): Broker {
  const repeat = <T>(call: string, body: unknown, field: string, signal?: AbortSignal): Promise<T> =>
    repeating(deps, () => request<T>(deps, call, body, field, CALL_TIMEOUT_MS, signal), signal);
  return {
    lease: (call, signal) => request(deps, 'lease', call, 'leases', call.wait_seconds * 1000 + LEASE_MARGIN_MS, signal),
    extend: (call, timeoutMs) => request(deps, 'extend', call, 'leases', timeoutMs),
    complete: (call, signal) => repeat('complete', call, 'results', signal),
    fail: (call, signal) => repeat('fail', call, 'failures', signal),
    release: (call, signal) => repeat('release', call, 'leases', signal),
    uploadUrl: (call, signal) => repeat('upload-url', call, 'url', signal),
  };
}

async function request<T>(
  { transport, session }: BrokerDeps,
  call: string,
  body: unknown,
  field: string,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<T> {
  const options = { body, timeoutMs, ...(signal ? { signal } : {}) };
  const token = await session.token();
  let answer = await transport.post(call, { ...options, token });
  if (answer.status === 401) {
    answer = await transport.post(call, { ...options, token: await session.renew(token) });
    if (answer.status === 401) throw new TokenRefused(`${call}: 401 ${detailOf(answer.body)}`);
  }
  if (answer.status !== 200) throw new BrokerError(call, answer.status, detailOf(answer.body));
  // Another server on this port, or a proxy's page: not an answer of ours.
  if (!isObject(answer.body) || answer.body[field] === undefined)
    throw new BrokerUnavailable(call, `the answer lacks ${field}`);
  return answer.body as T;
}

/** Repeats while the other side is unavailable, with backoff, up to REPEAT_LIMIT_MS or the signal. */
export async function repeating<T>(
  { clock, random }: Pick<BrokerDeps, 'clock' | 'random'>,
  attempt: () => Promise<T>,
  signal?: AbortSignal,
  limitMs: number = REPEAT_LIMIT_MS,
): Promise<T> {
  const until = clock.monotonic() + limitMs;
  for (let tried = 0; ; tried++) {
    try {
      return await attempt();
    } catch (err) {
      if (!(err instanceof BrokerUnavailable) || clock.monotonic() >= until) throw err;
    }
    await clock.sleep(backoffDelay(BROKER_BACKOFF, tried, random), signal);
  }
}
