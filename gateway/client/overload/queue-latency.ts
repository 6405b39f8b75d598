// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import { LATENCY_MEMORY_MS, LATENCY_WEIGHT } from './limits.ts';

export interface QueueLatency {
  /** Runs a call of the queue and takes its time, also when it fails. */
  timed<T>(call: () => Promise<T>): Promise<T>;
  /** Smoothed time of the calls that ended lately, or the age of the oldest that has not, whichever is longer. In ms. */
  current(): number;
}

export function createQueueLatency(clock: Pick<Clock, 'monotonic'>): QueueLatency {
  /** Starts of the calls under way, the oldest first. */
  const under = new Set<{ readonly since: number }>();
  let smoothed = 0;
  let at = Number.NEGATIVE_INFINITY;
  const ended = (call: { readonly since: number }): void => {
    under.delete(call);
    const now = clock.monotonic();
    const fresh = now - at <= LATENCY_MEMORY_MS;
    smoothed = fresh ? smoothed + LATENCY_WEIGHT * (now - call.since - smoothed) : now - call.since;
    at = now;
  };
  return {
    timed: async (run) => {
      const call = { since: clock.monotonic() };
      under.add(call);
      try {
        return await run();
      } finally {
        ended(call);
      }
    },
    current: () => {
      const now = clock.monotonic();
      const [oldest] = under;
      const age = oldest === undefined ? 0 : now - oldest.since;
      return Math.max(age, now - at <= LATENCY_MEMORY_MS ? smoothed : 0);
    },
  };
}
