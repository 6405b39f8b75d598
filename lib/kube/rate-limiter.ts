// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';

export interface RateLimiter {
  /** Counts one more failure of the key; answers how long it has to wait, in milliseconds. */
  next(key: string): number;
  forget(key: string): void;
  failures(key: string): number;
}

export interface RateLimits {
  /** First delay of a key; doubles with each failure. */
  readonly firstMs: number;
  readonly maxMs: number;
  /** Over all keys: an outage that fails every key at once must not become a storm. */
  readonly perSecond: number;
  readonly burst: number;
}

/** client-go's DefaultTypedControllerRateLimiter. */
export const DEFAULT_RATE_LIMITS: RateLimits = { firstMs: 5, maxMs: 1_000_000, perSecond: 10, burst: 100 };

/** The longer of the key's own exponential delay and the wait for the common token bucket. */
export function createRateLimiter(clock: Clock, limits: RateLimits = DEFAULT_RATE_LIMITS): RateLimiter {
  const failures = new Map<string, number>();
  const bucket = createTokenBucket(clock, limits.perSecond, limits.burst);
  return {
    next: (key) => {
      const before = failures.get(key) ?? 0;
      failures.set(key, before + 1);
      // 2^60 is beyond any cap; a larger exponent would only reach Infinity.
      return Math.max(Math.min(limits.maxMs, limits.firstMs * 2 ** Math.min(before, 60)), bucket.reserve());
    },
    forget: (key) => void failures.delete(key),
    failures: (key) => failures.get(key) ?? 0,
  };
}

export interface TokenBucket {
  /** Takes a token, perhaps one that is not there yet; answers the milliseconds until it is. */
  reserve(): number;
  /** Takes a token if there is one. */
  take(): boolean;
}

export function createTokenBucket(clock: Clock, perSecond: number, burst: number): TokenBucket {
  let tokens = burst;
  let at = clock.monotonic();
  const refill = (): void => {
    const now = clock.monotonic();
    tokens = Math.min(burst, tokens + ((now - at) / 1000) * perSecond);
    at = now;
  };
  return {
    reserve: () => {
      refill();
      tokens -= 1;
      return tokens >= 0 ? 0 : (-tokens / perSecond) * 1000;
    },
    take: () => {
      refill();
      if (tokens < 1) return false;
      tokens -= 1;
      return true;
    },
  };
}
