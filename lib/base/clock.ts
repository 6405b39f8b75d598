// SPDX-License-Identifier: Apache-2.0
import { setTimeout as delay } from 'node:timers/promises';

/** Time as the product sees it. Injected everywhere, so that tests own it; nothing else reads Date.now() or sets timers in logic. */
export interface Clock {
  /** Wall clock, milliseconds since the epoch. May jump; never use it to measure a duration. */
  now(): number;
  /** Monotonic milliseconds from an arbitrary origin: durations, deadlines of this process. */
  monotonic(): number;
  /** Resolves after `ms`, or rejects with the signal's reason. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: (ms, signal) => delay(ms, undefined, signal ? { signal } : {}),
};
