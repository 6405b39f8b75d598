// SPDX-License-Identifier: Apache-2.0
import type { Redis } from 'ioredis';
import { REVOCATIONS_MAX, REVOCATION_TRIM_MS } from '../limits.ts';
import { unavailable } from './runner.ts';

/** `<prefix>:revoked`: a sorted set of refused credentials by when they may be forgotten. No app's key: it is asked about on every call. */
export async function revoke(
  redis: Redis,
  prefix: string,
  entry: string,
  until: number,
  now: number,
): Promise<boolean> {
  const key = `${prefix}:revoked`;
  try {
    await redis.zremrangebyscore(key, '-inf', now - REVOCATION_TRIM_MS);
    // Two replicas at the bound may pass it by one each: it bounds memory, not trust.
    if ((await redis.zcard(key)) >= REVOCATIONS_MAX && (await redis.zscore(key, entry)) === null) return false;
    await redis.zadd(key, 'GT', until, entry);
    return true;
  } catch (error) {
    throw unavailable(error);
  }
}

export async function revocations(redis: Redis, prefix: string): Promise<ReadonlyMap<string, number>> {
  try {
    const flat = await redis.zrangebyscore(`${prefix}:revoked`, '-inf', '+inf', 'WITHSCORES');
    const entries = new Map<string, number>();
    for (let i = 0; i + 1 < flat.length; i += 2) entries.set(flat[i] ?? '', Number(flat[i + 1]));
    return entries;
  } catch (error) {
    throw unavailable(error);
  }
}
