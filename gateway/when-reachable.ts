// SPDX-License-Identifier: Apache-2.0
import { backoffDelay } from '#base/backoff.ts';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import { QueueError } from './queue/errors.ts';
import { isStoreError } from './store/errors.ts';

/** Installed together, Redis or the bucket may come up after the gateway. Beyond this somebody should hear of it: the process ends. */
export const REACHABLE_LIMIT_MS = 60_000;
const PAUSE = { firstMs: 100, maxMs: 2_000, factor: 2 };

export interface Patience {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Aborts when the process is to end. */
  readonly signal: AbortSignal;
}

/**
 * Opens a driver, again as long as its server can't be reached; any other error ends it at once.
 * @throws what `open` throws
 */
export async function whenReachable<T>(
  open: () => Promise<T>,
  { clock, random, logger, signal }: Patience,
): Promise<T> {
  const end = clock.monotonic() + REACHABLE_LIMIT_MS;
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await open();
    } catch (err) {
      if (!isUnavailable(err) || clock.monotonic() >= end) throw err;
      if (attempt === 0) logger.warn({ err }, 'not reachable yet; trying again');
      await clock.sleep(backoffDelay(PAUSE, attempt, random), signal);
    }
  }
}

function isUnavailable(err: unknown): boolean {
  return (err instanceof QueueError && err.code === 'unavailable') || isStoreError(err, 'unavailable');
}
