// SPDX-License-Identifier: Apache-2.0
import { COST_LIMIT_MICROS, DEADLINE_LIMIT, PRIORITY_LIMIT, WHOLE_GPU } from './limits.ts';

/**
 * Place of a request among those of its tenant, smaller first: priority (higher goes first), then deadline (none goes last).
 * Equal scores go by arrival, the app's running number. An integer below 2^53, so exact as a Redis score.
 */
export function orderScore(priority: number, deadline: number | undefined): number {
  return (PRIORITY_LIMIT - priority) * (DEADLINE_LIMIT + 1) + Math.min(deadline ?? DEADLINE_LIMIT, DEADLINE_LIMIT);
}

/** Size class of a body, 0 … 16: each reaches over a factor of four, so that estimates of small and large inputs do not mix. */
export function classOf(bytes: number): number {
  return bytes === 0 ? 0 : Math.min(16, Math.ceil(bytes.toString(2).length / 2));
}

/** Service time as the queue keeps it: whole µs, none negative and none beyond what one request may cost. */
export function serviceTime(micros: number): number {
  return Math.min(COST_LIMIT_MICROS, Math.max(0, Math.floor(micros)));
}

/** GPU time in µs of `micros` on `fraction` millionths of a GPU. */
export function gpuTime(micros: number, fraction: number): number {
  return Math.floor((micros * fraction) / WHOLE_GPU);
}
