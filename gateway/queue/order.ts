// SPDX-License-Identifier: Apache-2.0
import { DEADLINE_LIMIT, PRIORITY_LIMIT } from './limits.ts';

/**
 * Place of a request among those of its tenant, smaller first: priority (higher goes first), then deadline (none goes last).
 * Equal scores go by arrival, the app's running number. An integer below 2^53, so exact as a Redis score.
 */
export function orderScore(priority: number, deadline: number | undefined): number {
  return (PRIORITY_LIMIT - priority) * (DEADLINE_LIMIT + 1) + Math.min(deadline ?? DEADLINE_LIMIT, DEADLINE_LIMIT);
}
