// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import { backoffDelay } from '#base/backoff.ts';
import type { Logger } from '#base/logger.ts';
import { counter, histogram } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import type { Random } from '#base/random.ts';
import type { LeaseQueue, SweepStep } from '../queue/lease-queue.ts';
import { isStoreError } from './errors.ts';
import { checkKey } from './keys.ts';
import type { ObjectStore } from './object-store.ts';

/** Keys of one step: half a call of S3's DeleteObjects, a few milliseconds on a disk. */
const STEP_KEYS = 500;
/** Steps of one run: then it sleeps again, so that a mountain of garbage never keeps the gateway from its requests. */
const RUN_STEPS = 40;
/** Pause after a run that found something. */
const BUSY_INTERVAL_MS = 1_000;
/** Pause after one that found nothing: the shortest retention is a minute, and each replica asks. */
const IDLE_INTERVAL_MS = 5_000;
/** The first pauses after an error; both queue and store may be away for a while. */
const RETRY = { firstMs: 1000, maxMs: 60_000, factor: 2 };

export interface SweeperOptions {
  readonly queue: Pick<LeaseQueue, 'sweep' | 'forget'>;
  readonly store: Pick<ObjectStore, 'delete'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly registry: Registry;
}

export interface Sweeper {
  /** Runs until `stop`, never two runs at once. A second start changes nothing. */
  start(): void;
  /** Waits for the step that is under way. */
  stop(): Promise<void>;
  /** One run of bounded steps: how many objects went. @throws what queue or store threw */
  run(): Promise<number>;
}

/**
 * Removes what has lost its owner: records past their retention, their objects, and objects of losing attempts. Each step takes keys
 * from the queue, deletes them, then tells the queue to forget them. A gateway killed in between loses nothing: the queue offers the
 * keys again, and deleting twice is fine. Several gateways may sweep at once; the queue offers a key to one at a time.
 */
export function createSweeper(options: SweeperOptions): Sweeper {
  const { clock, random, logger } = options;
  const metrics = createMetrics(options.registry);
  const stopping = new AbortController();
  let loop: Promise<void> | undefined;

  const run = async (): Promise<number> => {
    const began = clock.monotonic();
    let removed = 0;
    try {
      for (let steps = 0; steps < RUN_STEPS && !stopping.signal.aborted; steps++) {
        const { keys, more } = await sweepStep(options, metrics.objects);
        removed += keys.length;
        // Not told by the number of keys: records without objects yield none, however many of them are due.
        if (!more) break;
      }
      metrics.runs.inc({ outcome: 'ok' });
    } catch (err) {
      metrics.runs.inc({ outcome: 'error' });
      throw err;
    } finally {
      metrics.duration.observe((clock.monotonic() - began) / 1000);
    }
    return removed;
  };

  const keepRunning = async (): Promise<void> => {
    let failures = 0;
    let interval = BUSY_INTERVAL_MS;
    while (!stopping.signal.aborted) {
      try {
        const removed = await run();
        if (removed > 0) logger.debug({ removed }, 'objects without an owner removed');
        failures = 0;
        interval = removed > 0 ? BUSY_INTERVAL_MS : IDLE_INTERVAL_MS;
      } catch (err) {
        failures++;
        logger.warn({ err, failures }, 'sweep failed; what it had taken comes again');
      }
      const pause = failures === 0 ? interval : backoffDelay(RETRY, failures - 1, random);
      // Rejects only when stopped: then the loop ends.
      await clock.sleep(pause, stopping.signal).catch(() => undefined);
    }
  };

  return {
    start: () => {
      loop ??= keepRunning();
    },
    stop: async () => {
      stopping.abort(new Error('the sweeper stops'));
      await loop;
    },
    run,
  };
}

/** Deleted first, forgotten after: the other order would leave an object for ever when the process dies in between. */
async function sweepStep(options: SweeperOptions, objects: { inc(by: number): void }): Promise<SweepStep> {
  const { queue, store, logger } = options;
  const step = await queue.sweep(STEP_KEYS);
  const { keys } = step;
  if (keys.length === 0) return step;
  // No store holds an object of an unsafe key. Such a key is forgotten, or it would come back and fail this step for ever.
  const [safe, unsafe] = split(keys);
  if (unsafe.length > 0)
    logger.error({ keys: unsafe.slice(0, 10), count: unsafe.length }, 'the queue knows unsafe object keys');
  if (safe.length > 0) await store.delete(safe);
  await queue.forget(keys);
  objects.inc(safe.length);
  return step;
}

function split(keys: readonly string[]): [safe: string[], unsafe: string[]] {
  const safe: string[] = [];
  const unsafe: string[] = [];
  for (const key of keys) (isSafe(key) ? safe : unsafe).push(key);
  return [safe, unsafe];
}

function isSafe(key: string): boolean {
  try {
    checkKey(key);
    return true;
  } catch (err) {
    if (isStoreError(err, 'bad-key')) return false;
    throw err;
  }
}

function createMetrics(registry: Registry) {
  return {
    runs: counter(
      registry,
      'penstock_sweep_runs_total',
      'Sweeps of what lost its owner, by outcome',
      ['outcome'],
      [{ outcome: 'ok' }, { outcome: 'error' }],
    ),
    objects: counter(registry, 'penstock_sweep_objects_total', 'Objects without an owner that were deleted'),
    duration: histogram(registry, 'penstock_sweep_duration_seconds', 'Time of one sweep'),
  };
}
