// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import { createFakeClock } from '#base/fake-clock.ts';
import { never } from './never.ts';

/** The clock of one process of a schedule: the schedule's time, shown wrong by `skewMs`. */
export interface ProcessClock extends Clock {
  /** The process is gone: nobody who sleeps on this clock ever wakes. */
  freeze(): void;
}

/** Time of one schedule: it stands still between the steps that move it. Starts at the real time, since stored files carry that. */
export interface ScheduleClock {
  readonly now: () => number;
  advance(ms: number): Promise<void>;
  process(skewMs: number): ProcessClock;
}

export function createScheduleClock(): ScheduleClock {
  const fake = createFakeClock(Date.now());
  return {
    // Who sleeps for a fraction of a millisecond leaves one; no wall clock of a process shows it.
    now: () => Math.floor(fake.now()),
    advance: (ms) => fake.advance(ms),
    process: (skewMs) => {
      let frozen = false;
      return {
        now: () => Math.floor(fake.now()) + skewMs,
        monotonic: () => fake.monotonic(),
        sleep: async (ms, signal) => {
          if (frozen) return await never();
          if (ms <= 0) return;
          await fake.sleep(ms, signal);
          if (frozen) await never();
        },
        freeze: () => {
          frozen = true;
        },
      };
    },
  };
}
