// SPDX-License-Identifier: Apache-2.0
import { backoffDelay } from '#base/backoff.ts';
import type { BackoffPolicy } from '#base/backoff.ts';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import type { CacheSink } from './cache.ts';
import type { KubeClient } from './client.ts';
import { KubeError, NO_ANSWER, isExpired } from './errors.ts';
import type { KubeMetrics } from './kube-metrics.ts';
import { PAGE_LIMIT, listAll } from './pager.ts';
import { resourceName } from './resource.ts';
import type { Resource } from './resource.ts';
import type { KubeObject, WatchFrame } from './types.ts';

/** client-go's constants (tools/cache/reflector.go). */
const BACKOFF: BackoffPolicy = { firstMs: 800, maxMs: 30_000, factor: 2 };
/** A watch that lived this long was healthy: the next failure starts the backoff anew. */
const HEALTHY_MS = 120_000;
/** Random, so that the watches of all replicas do not end in the same second. */
const WATCH_SECONDS = { least: 300, most: 600 };
/**
 * Bookmarks come once a minute; a freshly started API server skips the first (measured: 121 s until one came). Two missing ones
 * mean that nobody is at the other end any more.
 */
export const SILENCE_LIMIT_MS = 150_000;
/** A full list from time to time, against whatever a watch may have lost unnoticed (an etcd restored from a backup). */
const RELIST_AFTER_MS = 30 * 60_000;
/** One page on a slow server. */
const LIST_DEADLINE_MS = 60_000;

export interface ReflectorOptions<T extends KubeObject> {
  readonly client: KubeClient;
  readonly resource: Resource;
  readonly sink: CacheSink<T>;
  /** Absent: all namespaces. */
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: KubeMetrics;
  /** What the sink gets of each object (default: all of it). Metadata's name, namespace, uid and resourceVersion must stay. */
  readonly keep?: ((object: T) => T) | undefined;
  /** Silence after which a watch is given up as dead (default 150 s). */
  readonly silenceLimitMs?: number;
  readonly pageLimit?: number;
  readonly backoff?: BackoffPolicy;
}

/** Keeps a sink equal to the API server's objects, through whatever happens, until stopped. */
export interface Reflector {
  start(): void;
  /** Final: nothing reaches the sink after it resolves, and a stopped reflector cannot be started. */
  stop(): Promise<void>;
  /** Why list or watch failed last, while it has not worked since. For /readyz and conditions. */
  trouble(): Error | undefined;
}

export function createReflector<T extends KubeObject>(options: ReflectorOptions<T>): Reflector {
  return new WatchingReflector(options);
}

class WatchingReflector<T extends KubeObject> implements Reflector {
  readonly #options: ReflectorOptions<T>;
  readonly #resource: string;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  /** Where the next watch begins; undefined: list first. */
  #resourceVersion: string | undefined;
  #listedAt = 0;
  #lists = 0;
  #watches = 0;
  #failures = 0;
  #trouble: Error | undefined;

  constructor(options: ReflectorOptions<T>) {
    this.#options = options;
    this.#resource = resourceName(options.resource);
    options.metrics.relists.inc({ resource: this.#resource }, 0);
    options.metrics.watchRestarts.inc({ resource: this.#resource }, 0);
  }

  start(): void {
    if (this.#stopping.signal.aborted) throw new Error(`the reflector of ${this.#resource} was stopped`);
    this.#running ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error(`the reflector of ${this.#resource} stops`));
    await this.#running;
  }

  trouble(): Error | undefined {
    return this.#trouble;
  }

  async #run(): Promise<void> {
    const { clock } = this.#options;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      const since = clock.monotonic();
      let retryAfterMs = 0;
      try {
        if (this.#listIsDue()) await this.#list();
        await this.#watch();
      } catch (err) {
        if (signal.aborted) return;
        retryAfterMs = this.#note(err);
      }
      const wait = this.#waitAfter(clock.monotonic() - since, retryAfterMs);
      await clock.sleep(wait, signal).catch(() => {});
    }
  }

  #listIsDue(): boolean {
    return this.#resourceVersion === undefined || this.#options.clock.monotonic() - this.#listedAt > RELIST_AFTER_MS;
  }

  async #list(): Promise<void> {
    const { client, resource, namespace, labelSelector, fieldSelector, pageLimit, sink, clock, metrics } =
      this.#options;
    if (this.#lists++ > 0) metrics.relists.inc({ resource: this.#resource });
    const { signal } = this.#stopping;
    const scope = { namespace, labelSelector, fieldSelector, limit: pageLimit ?? PAGE_LIMIT };
    const listing = await listAll<T>(
      client,
      resource,
      { ...scope, signal, deadlineMs: LIST_DEADLINE_MS },
      this.#options.keep,
    );
    if (signal.aborted) return;
    sink.replace(listing.items);
    this.#resourceVersion = listing.resourceVersion;
    this.#listedAt = clock.monotonic();
    this.#alive();
  }

  /** One watch, until it ends in order (returns) or not (throws). */
  async #watch(): Promise<void> {
    const { client, resource, namespace, labelSelector, fieldSelector, clock, random, metrics } = this.#options;
    const resourceVersion = this.#resourceVersion;
    if (resourceVersion === undefined || this.#stopping.signal.aborted) return;
    if (this.#watches++ > 0) metrics.watchRestarts.inc({ resource: this.#resource });
    const watchdog = startWatchdog(clock, this.#options.silenceLimitMs ?? SILENCE_LIMIT_MS, this.#stopping.signal);
    const timeoutSeconds =
      WATCH_SECONDS.least + Math.floor(random.fraction() * (WATCH_SECONDS.most - WATCH_SECONDS.least + 1));
    const scope = { namespace, labelSelector, fieldSelector, resourceVersion, timeoutSeconds };
    try {
      for await (const frame of client.watch<T>(resource, { ...scope, signal: watchdog.signal })) {
        if (this.#stopping.signal.aborted) return;
        watchdog.heard();
        this.#take(frame);
      }
    } finally {
      watchdog.end();
    }
  }

  #take({ type, object }: WatchFrame<T>): void {
    const { sink, keep = (whole) => whole } = this.#options;
    if (type === 'DELETED') sink.remove(keep(object));
    else if (type !== 'BOOKMARK') sink.put(keep(object));
    // Only now: had the sink thrown, the watch would resume before this change.
    this.#resourceVersion = object.metadata.resourceVersion ?? this.#resourceVersion;
    this.#alive();
  }

  #alive(): void {
    this.#trouble = undefined;
    this.#options.metrics.lastEvent.set({ resource: this.#resource }, this.#options.clock.now() / 1000);
  }

  /** Records a failure; answers how long the server asked to wait. */
  #note(err: unknown): number {
    this.#trouble = err instanceof Error ? err : new Error(String(err));
    const lost = isExpired(err) || (err instanceof KubeError && err.reason === NO_ANSWER.malformed);
    // 410 is routine: what the server has forgotten is listed again. Everything else resumes where it was.
    if (lost) this.#resourceVersion = undefined;
    const { logger } = this.#options;
    if (isExpired(err)) logger.info({ resource: this.#resource }, 'watch fell behind, listing again');
    else logger.warn({ resource: this.#resource, err, failures: this.#failures }, 'list or watch failed, trying again');
    return err instanceof KubeError ? (err.retryAfterMs ?? 0) : 0;
  }

  /** Even a watch that ended in order waits: a server (or proxy) that closes at once must not make us spin. */
  #waitAfter(livedMs: number, retryAfterMs: number): number {
    if (livedMs >= HEALTHY_MS) this.#failures = 0;
    return Math.max(
      retryAfterMs,
      backoffDelay(this.#options.backoff ?? BACKOFF, this.#failures++, this.#options.random),
    );
  }
}

interface Watchdog {
  readonly signal: AbortSignal;
  heard(): void;
  end(): void;
}

/** Aborts its signal after `limitMs` without `heard`: a peer that vanished without a FIN never ends a stream by itself. */
function startWatchdog(clock: Clock, limitMs: number, outer: AbortSignal): Watchdog {
  const stream = new AbortController();
  const ended = new AbortController();
  const signal = AbortSignal.any([outer, stream.signal]);
  let last = clock.monotonic();
  const guard = async (): Promise<void> => {
    for (let left = limitMs; left > 0; left = limitMs - (clock.monotonic() - last))
      await clock.sleep(left, ended.signal);
    stream.abort(
      new KubeError(`nothing came for ${limitMs} ms, not even a bookmark`, { status: 0, reason: NO_ANSWER.deadline }),
    );
  };
  guard().catch(() => {});
  return { signal, heard: () => void (last = clock.monotonic()), end: () => ended.abort() };
}
