// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Clock } from '#base/clock.ts';
import type { Random } from '#base/random.ts';

/** Templates of the routes that carry the load. */
export const INFER_ROUTE = '/v1/{app}/infer';
export const STATUS_ROUTE = '/v1/{app}/status/{ticket}';
export const LEASE_ROUTE = '/internal/v1/lease';
export const COMPLETE_ROUTE = '/internal/v1/complete';

/** One request on its way through the gateway, with what its log line and every answer need. */
export interface Exchange {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** Echoed as X-Request-Id. */
  readonly requestId: string;
  /** Monotonic milliseconds. */
  readonly startedAt: number;
  /** Template of the route (`/v1/{app}/infer`), for metrics and the log; never the raw path. */
  route: string;
  /** Known once the credential and the path were read. */
  tenant?: string;
  /** Which of the tenant's credentials: `key psk_abcd2345`. Never the credential. */
  subject?: string;
  app?: string;
  unit?: string;
  /** RateLimit fields of the answer, whatever it is. */
  rate?: Readonly<Record<string, string>>;
}

/** Accepted as they are; anything else (spaces, quotes, control characters, too long) is replaced by one of ours. */
const REQUEST_ID = /^[A-Za-z0-9._:-]{1,128}$/;

/** The id of a request: what its X-Request-Id says, or one of ours; of one that could not be parsed always one of ours. */
export type RequestIds = (req?: IncomingMessage) => string;

/** As many as nobody guesses and the whole fleet never draws twice. */
const REQUEST_ID_BITS = 96;

/**
 * Ids of ours are random, never counted: whoever calls twice would else read from them how much everybody else called in between.
 * @param random pooled, as `systemRandom` is: one id per call is on the hot path
 */
export function createRequestIds(random: Pick<Random, 'bytes'>): RequestIds {
  return (req) => {
    const given = req?.headers['x-request-id'];
    if (typeof given === 'string' && REQUEST_ID.test(given)) return given;
    return Buffer.from(random.bytes(REQUEST_ID_BITS / 8)).toString('hex');
  };
}

export function exchangeFactory(
  clock: Clock,
  requestIds: RequestIds,
): (req: IncomingMessage, res: ServerResponse, route: string) => Exchange {
  return (req, res, route) => ({ req, res, requestId: requestIds(req), startedAt: clock.monotonic(), route });
}

/** The path of the request target, without its query; absolute-form targets (RFC 9112 §3.2.2) lose their origin. */
export function pathOf(req: IncomingMessage): string {
  const target = req.url ?? '/';
  const origin = target.startsWith('http') ? /^https?:\/\/[^/?]*/.exec(target) : null;
  const path = (origin === null ? target : target.slice(origin[0].length)).split('?', 1)[0];
  return path === undefined || path === '' ? '/' : path;
}

/** Calls `gone` once when the client's connection ends before the answer is out, at once when it has ended already. */
export function onGone({ res }: Exchange, gone: () => void): () => void {
  if (res.destroyed && !res.writableFinished) {
    gone();
    return () => {};
  }
  const listener = (): void => {
    if (!res.writableFinished) gone();
  };
  res.once('close', listener);
  return () => res.off('close', listener);
}
