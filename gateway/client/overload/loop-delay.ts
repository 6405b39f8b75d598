// SPDX-License-Identifier: Apache-2.0
import { LOOP_SAMPLES } from './limits.ts';

export interface LoopDelay {
  /** The least of the last samples, in ms: what was so all the time. */
  lasting(): number;
  /** The last sample, in ms. */
  latest(): number;
  stop(): void;
}

/**
 * How long what is due waits for its turn in this process, sampled by a timer's own lateness. (The histogram of perf_hooks loses the
 * interval after each reset, and with it the very block that a window was made of.)
 */
export function watchLoopDelay(sampleMs: number): LoopDelay {
  const samples: number[] = [];
  let due = performance.now() + sampleMs;
  const timer = setInterval(() => {
    const now = performance.now();
    samples.push(Math.max(0, now - due));
    if (samples.length > LOOP_SAMPLES) samples.shift();
    due = now + sampleMs;
  }, sampleMs).unref();
  return {
    lasting: () => (samples.length < LOOP_SAMPLES ? 0 : Math.min(...samples)),
    latest: () => samples.at(-1) ?? 0,
    stop: () => clearInterval(timer),
  };
}
