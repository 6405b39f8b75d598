// SPDX-License-Identifier: Apache-2.0
import { setImmediate as turn } from 'node:timers/promises';
import type { Clock } from './clock.ts';

interface Sleeper {
  readonly at: number;
  readonly wake: () => void;
}

/** A clock that stands still until a test moves it. */
export interface FakeClock extends Clock {
  /** Moves time on; whoever sleeps until then wakes at its own moment, in order, and runs on before time moves further. */
  advance(ms: number): Promise<void>;
  /** Moves only the wall clock, at once: an NTP step, a suspended machine. */
  stepWall(ms: number): void;
  /** Time passes without anybody waking: a blocked event loop. The sleepers wake at the next `advance`. */
  block(ms: number): void;
  /** How many sleep. */
  sleepers(): number;
}

export function createFakeClock(epochMs = Date.UTC(2026, 0, 1)): FakeClock {
  let elapsed = 0;
  let step = 0;
  let sleepers: Sleeper[] = [];

  const sleep = (ms: number, signal?: AbortSignal): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    if (signal?.aborted) return Promise.reject(signal.reason);
    const onAbort = (): void => {
      sleepers = sleepers.filter((other) => other !== sleeper);
      reject(signal?.reason);
    };
    const wake = (): void => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    };
    const sleeper: Sleeper = { at: elapsed + Math.max(0, ms), wake };
    sleepers.push(sleeper);
    signal?.addEventListener('abort', onAbort, { once: true });
    return promise;
  };
  const advance = async (ms: number): Promise<void> => {
    const target = elapsed + ms;
    for (;;) {
      // A turn of the event loop: whoever woke gets to its next sleep first.
      await turn();
      const next = sleepers.filter(({ at }) => at <= target).toSorted((a, b) => a.at - b.at)[0];
      if (!next) break;
      elapsed = Math.max(elapsed, next.at);
      sleepers = sleepers.filter((other) => other !== next);
      next.wake();
    }
    elapsed = target;
    await turn();
  };
  return {
    now: () => epochMs + step + elapsed,
    monotonic: () => elapsed,
    sleep,
    advance,
    stepWall: (ms) => void (step += ms),
    block: (ms) => void (elapsed += ms),
    sleepers: () => sleepers.length,
  };
}
