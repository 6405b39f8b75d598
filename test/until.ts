// SPDX-License-Identifier: Apache-2.0
import { setTimeout as delay } from 'node:timers/promises';

// Generous: a loaded machine is no failure, and who waits for what never comes is told after half a minute.
const defaultTimeoutMs = 30_000;
const defaultEveryMs = 25;

export interface UntilOptions {
  /** What is waited for, as it reads after "timed out waiting for". */
  readonly what: string;
  /** Default 30 s. */
  readonly timeoutMs?: number;
  /** Pause between two looks; default 25 ms. */
  readonly everyMs?: number;
}

/**
 * Waits for a condition instead of for a time: calls `look` until it answers something truthy, and returns that.
 * A look that throws counts as "not yet"; its last error is the cause of the timeout's.
 */
export async function until<T>(
  look: () => T | Promise<T>,
  options: UntilOptions,
): Promise<Exclude<T, false | null | undefined | 0 | ''>> {
  const timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  const end = performance.now() + timeoutMs;
  let cause: unknown;
  for (;;) {
    try {
      const seen = await look();
      if (seen) return seen as Exclude<T, false | null | undefined | 0 | ''>;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (performance.now() >= end)
      throw new Error(`timed out after ${timeoutMs} ms waiting for ${options.what}`, { cause });
    await delay(options.everyMs ?? defaultEveryMs);
  }
}
