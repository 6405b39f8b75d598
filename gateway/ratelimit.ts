// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { RequestRate } from '#base/tenants.ts';
import { gatewayError } from './errors.ts';
import { RATE_BUCKETS_MAX } from './limits.ts';

/** Whose requests are counted together, and how many there may be. */
export interface Limited {
  readonly name: string;
  readonly requestRate?: RequestRate;
}

/** Response headers of draft-ietf-httpapi-ratelimit-headers-11 (structured fields). */
export type RateHeaders = Readonly<Record<'ratelimit-policy' | 'ratelimit', string>>;

export interface RateLimiterOptions {
  readonly clock: Pick<Clock, 'monotonic'>;
  /** Hears the name of each tenant that was refused. */
  readonly refused: (tenant: string) => void;
  readonly max?: number;
}

export interface RateLimiter {
  /**
   * Counts one request of the tenant. Answers the headers of its answer, or undefined where nothing is limited.
   * @throws ProblemError 429 `rate-limited`
   */
  readonly take: (tenant: Limited) => RateHeaders | undefined;
  /** Tenants that are remembered. */
  readonly size: () => number;
}

/** Names of the two quotas in both fields. */
const RATE = 'requests';
const QUEUED = 'queued';
/** In intervals: sums of fractions must not cost the last request of a burst. */
const ROUNDING = 1e-6;

/**
 * A token bucket for each tenant, by the generic cell rate algorithm (ITU-T I.371): of each one number is kept, the time at which the bucket
 * will be full again. Of this process: each replica of the gateway has its own, so a tenant may get its rate from every one of them.
 */
export function createRateLimiter({ clock, refused, max = RATE_BUCKETS_MAX }: RateLimiterOptions): RateLimiter {
  // In the order of the last request, which is nearly that of the times: whoever is first has most likely a full bucket.
  const fullAt = new Map<string, number>();

  const remember = (name: string, time: number): void => {
    fullAt.delete(name);
    // The one forgotten gets a full bucket: a tenant unseen for as long as `max` others were seen.
    const oldest = fullAt.size >= max ? fullAt.keys().next().value : undefined;
    if (oldest !== undefined) fullAt.delete(oldest);
    fullAt.set(name, time);
  };

  return {
    take: ({ name, requestRate }) => {
      if (requestRate === undefined) return undefined;
      const interval = 1_000 / requestRate.perSecond;
      const now = clock.monotonic();
      const next = Math.max(now, fullAt.get(name) ?? now) + interval;
      const left = requestRate.burst - (next - now) / interval + ROUNDING;
      if (left < 0) {
        refused(name);
        throw limited(requestRate, -left * interval);
      }
      remember(name, next);
      return headersOf(requestRate, left);
    },
    size: () => fullAt.size,
  };
}

/** `q` requests in each window of `w` seconds: the burst, in the time that it takes to fill up. */
function policyOf({ perSecond, burst }: RequestRate): string {
  return `"${RATE}";q=${burst};w=${Math.ceil(burst / perSecond)}`;
}

/** No more than `r` requests within the next `t` seconds, whole ones: then there is one more. */
function headersOf(rate: RequestRate, left: number): RateHeaders {
  const whole = Math.floor(left);
  const seconds = Math.max(1, Math.ceil((whole + 1 - left) / rate.perSecond));
  return { 'ratelimit-policy': policyOf(rate), ratelimit: `"${RATE}";r=${whole};t=${seconds}` };
}

function limited(rate: RequestRate, waitMs: number): Error {
  const { perSecond, burst } = rate;
  const seconds = String(Math.max(1, Math.ceil(waitMs / 1_000)));
  return gatewayError('rate-limited', `the tenant may send ${perSecond} requests a second, and ${burst} at once`, {
    'violated-policies': [RATE],
    fix: 'send it again after Retry-After, or have requestRate of the tenant raised',
    headers: { 'ratelimit-policy': policyOf(rate), ratelimit: `"${RATE}";r=0;t=${seconds}`, 'retry-after': seconds },
  });
}

/**
 * Repeats of what is queued already are never refused: only a request that would have made the queue longer.
 * @param rate the fields that the answer has anyway; both quotas are in them then
 */
export function queueFull(
  { queued, limit }: { readonly queued: number; readonly limit: number },
  rate: Readonly<Record<string, string>> = {},
): Error {
  // What is held at once: no time gives it back, only work that is done.
  const policy = `"${QUEUED}";q=${limit};qu="concurrent-requests"`;
  const left = `"${QUEUED}";r=0`;
  return gatewayError('queue-full', `the tenant has ${queued} requests queued for this app, and may have ${limit}`, {
    limit,
    'violated-policies': [QUEUED],
    fix: 'send it again when some of them are done, or have maxQueued of the tenant raised',
    headers: {
      'ratelimit-policy': joined(policy, rate['ratelimit-policy']),
      ratelimit: joined(left, rate['ratelimit']),
      'retry-after': '1',
    },
  });
}

function joined(item: string, others: string | undefined): string {
  return others === undefined ? item : `${item}, ${others}`;
}
