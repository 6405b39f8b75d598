// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import type { AppSource } from './apps/app-source.ts';
import type { GatewayMetrics } from './metrics.ts';
import type { LeaseQueue } from './queue/lease-queue.ts';

/** Leases made meanwhile may end before the deadline that was the next one when it was asked for. */
const EXPIRY_AT_MOST_MS = 5_000;
/** A sweep with more to do lets requests through in between; nor is it a busy loop where the queue's clock is behind this one. */
const EXPIRY_AT_LEAST_MS = 50;
/** After an error of the queue. */
const EXPIRY_RETRY_MS = 1_000;

export interface ExpirySweepOptions {
  readonly queue: Pick<LeaseQueue, 'expire'>;
  readonly apps: AppSource;
  readonly metrics: GatewayMetrics;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

export interface Sweep {
  /** Waits for a step that runs. */
  stop(): Promise<void>;
}

/**
 * Ends leases and deadlines that have passed and re-keys work of revisions without units: on a timer at the next deadline, and
 * when an app changes. Every replica does it; the queue's steps are atomic.
 */
export function startExpirySweep({ queue, apps, metrics, clock, random, logger }: ExpirySweepOptions): Sweep {
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> | undefined;
  let again = false;
  let stopped = false;

  const step = async (): Promise<number> => {
    try {
      const current = new Map(apps.list().map(({ uid, revision }) => [uid, revision]));
      const { nextAt, expired, deadLetters } = await queue.expire(current);
      if (expired > 0) metrics.expired(expired);
      if (deadLetters > 0) metrics.deadLetters(deadLetters);
      // Replicas that woke for the same deadline spread out; whoever is first does the work.
      const next = nextAt === undefined ? EXPIRY_AT_MOST_MS : nextAt - clock.now() + random.fraction() * 50;
      return Math.min(EXPIRY_AT_MOST_MS, Math.max(EXPIRY_AT_LEAST_MS, next));
    } catch (err) {
      logger.warn({ err }, 'the expiry sweep failed; it tries again');
      return EXPIRY_RETRY_MS;
    }
  };
  const run = (): void => {
    clearTimeout(timer);
    if (stopped) return;
    if (running !== undefined) {
      again = true;
      return;
    }
    running = step().then((delay) => {
      running = undefined;
      if (!stopped) timer = setTimeout(run, again ? 0 : delay);
      again = false;
    });
  };
  const forget = apps.onChange(run);
  run();
  return {
    stop: async () => {
      stopped = true;
      forget();
      clearTimeout(timer);
      await running;
    },
  };
}
