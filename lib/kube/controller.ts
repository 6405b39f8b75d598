// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import { KubeError, TerminalError, isConflict } from './errors.ts';
import type { KubeMetrics } from './kube-metrics.ts';
import { DEFAULT_RATE_LIMITS, createRateLimiter } from './rate-limiter.ts';
import type { RateLimits } from './rate-limiter.ts';
import { createWorkqueue } from './workqueue.ts';

/** client-go's default is 1; ours are mostly waiting for the API server. */
const DEFAULT_WORKERS = 4;
/** How long `stop` lets running reconciles end by themselves before their signal aborts. */
const DRAIN_MS = 10_000;

export interface ReconcileResult {
  /** Look at the key again after this time, even if nothing happens. */
  readonly requeueAfterMs?: number | undefined;
}

/**
 * Brings one key to its desired state. It gets no event and no object: it reads the cache. Throwing retries with backoff;
 * TerminalError does not retry. The signal aborts when the controller has to end.
 */
export type Reconcile = (key: string, signal: AbortSignal) => Promise<ReconcileResult | void>;

export interface ControllerOptions {
  /** Label of metrics and logs. */
  readonly name: string;
  readonly reconcile: Reconcile;
  readonly workers?: number;
  readonly rateLimits?: RateLimits;
  readonly drainMs?: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: KubeMetrics;
}

export interface Controller {
  enqueue(key: string): void;
  enqueueAfter(key: string, ms: number): void;
  /** Starts the workers; keys may be enqueued before. */
  start(): void;
  /** Final. Running reconciles end (in order, or by their signal); keys still queued are dropped: a restart finds them again. */
  stop(): Promise<void>;
}

export function createController(options: ControllerOptions): Controller {
  const { name, clock, metrics } = options;
  const limiter = createRateLimiter(clock, options.rateLimits ?? DEFAULT_RATE_LIMITS);
  const queue = createWorkqueue(clock, limiter, (depth) => metrics.queueDepth.set({ controller: name }, depth));
  const cutOff = new AbortController();
  const run = createRunner(options, cutOff.signal);
  for (const result of ['success', 'requeue', 'error', 'terminal'])
    metrics.reconciles.inc({ controller: name, result }, 0);
  let stopping = false;
  let workers: readonly Promise<void>[] = [];

  const work = async (): Promise<void> => {
    for (let item = await queue.get(); item; item = await queue.get()) {
      const { key } = item;
      if (!stopping) {
        metrics.queueLatency.observe({ controller: name }, item.waitedMs / 1000);
        const next = await run(key);
        if (next.forget) queue.forget(key);
        if (next.retry) queue.addRateLimited(key, next.afterMs);
        else if (next.afterMs !== undefined) queue.addAfter(key, next.afterMs);
      }
      // After the re-adding: `done` puts a key that changed meanwhile back at once.
      queue.done(key);
    }
  };
  return {
    enqueue: (key) => queue.add(key),
    enqueueAfter: (key, ms) => queue.addAfter(key, ms),
    start: () => {
      if (stopping || workers.length > 0) return;
      workers = Array.from({ length: options.workers ?? DEFAULT_WORKERS }, work);
    },
    stop: async () => {
      stopping = true;
      const drained = queue.shutdown();
      const late = new AbortController();
      const cut = clock.sleep(options.drainMs ?? DRAIN_MS, late.signal).then(
        () => cutOff.abort(new Error(`controller ${name} stops`)),
        () => {},
      );
      if (workers.length > 0) await drained;
      await Promise.all(workers);
      late.abort();
      await cut;
    },
  };
}

interface Next {
  readonly forget: boolean;
  readonly retry: boolean;
  readonly afterMs?: number | undefined;
}

function createRunner(options: ControllerOptions, signal: AbortSignal): (key: string) => Promise<Next> {
  const { name, reconcile, clock, logger, metrics } = options;
  const count = (result: string): void => metrics.reconciles.inc({ controller: name, result });
  const succeeded = (result: ReconcileResult | void): Next => {
    const afterMs = result?.requeueAfterMs;
    count(afterMs === undefined ? 'success' : 'requeue');
    return { forget: true, retry: false, afterMs };
  };
  const failed = (key: string, err: unknown): Next => {
    if (err instanceof TerminalError) {
      count('terminal');
      logger.error({ controller: name, key, err }, 'reconcile failed for good');
      return { forget: true, retry: false };
    }
    count('error');
    // A conflict is a stale cache, which heals by itself: worth a retry, not a warning.
    logger[isConflict(err) ? 'debug' : 'warn']({ controller: name, key, err }, 'reconcile failed, will be retried');
    return { forget: false, retry: true, afterMs: err instanceof KubeError ? err.retryAfterMs : undefined };
  };
  return async (key) => {
    const since = clock.monotonic();
    try {
      return succeeded(await reconcile(key, signal));
    } catch (err) {
      return failed(key, err);
    } finally {
      metrics.reconcileSeconds.observe({ controller: name }, (clock.monotonic() - since) / 1000);
    }
  };
}
