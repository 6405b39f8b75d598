// SPDX-License-Identifier: Apache-2.0
import type { Random } from './random.ts';

/** Exponential backoff. Jitter is full in the upper half, so that callers that failed together do not come back together. */
export interface BackoffPolicy {
  readonly firstMs: number;
  readonly maxMs: number;
  readonly factor: number;
}

/** Delay before retry number `attempt` (0 = the first retry), in milliseconds, within [d/2, d] of the exponential step d. */
export function backoffDelay(policy: BackoffPolicy, attempt: number, random: Random): number {
  const step = Math.min(policy.maxMs, policy.firstMs * policy.factor ** Math.min(attempt, 64));
  return step / 2 + (step / 2) * random.fraction();
}
