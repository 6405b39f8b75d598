// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { KubeClient } from './client.ts';
import { isNotFound } from './errors.ts';
import type { KubeMetrics } from './kube-metrics.ts';
import { microTime } from './micro-time.ts';
import { createTokenBucket } from './rate-limiter.ts';
import type { TokenBucket } from './rate-limiter.ts';
import { EVENTS } from './resource.ts';
import type { KubeObject } from './types.ts';
import { fitBytes } from './fit-bytes.ts';

/** Limits of events.k8s.io/v1, in bytes. */
const MAX_NOTE = 1024;
const MAX_LABEL = 128;
const MAX_NAME = 253;
/** Repeats within this time of each other are one series (client-go: 6 minutes). */
const SERIES_GAP_MS = 6 * 60_000;
/** A series is written at most this often, so that a hot loop costs one call, not thousands. */
const SERIES_WRITE_MS = 10_000;
/** Kinds of events remembered for aggregation; the one that was quiet for longest is forgotten first. */
const MAX_REMEMBERED = 1024;
/** Over all: Events are for people, and share the API server with the work. */
const WRITES_PER_SECOND = 5;
const WRITE_BURST = 50;
/** Writes waiting or under way; an API server that is down must not fill the heap. */
const MAX_PENDING = 128;
const WRITE_DEADLINE_MS = 10_000;

export interface EventInput {
  /** The object it is about; a cached one carries apiVersion and kind. */
  readonly regarding: KubeObject;
  readonly type: 'Normal' | 'Warning';
  /** PascalCase, for machines. */
  readonly reason: string;
  /** PascalCase: what the controller did or tried. */
  readonly action: string;
  /** For people; cut at 1024 bytes. */
  readonly note: string;
}

export interface EventRecorderOptions {
  readonly client: KubeClient;
  /** Name of the controller, a qualified name such as `penstock.dev/operator`. */
  readonly controller: string;
  /** This process: the pod's name. */
  readonly instance: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: KubeMetrics;
}

/** Writes Kubernetes Events (events.k8s.io/v1). Never throws and never waits: an Event that cannot be written is logged. */
export interface EventRecorder {
  record(event: EventInput): void;
  /** Writes counts not written yet and waits for what is under way. Final. */
  stop(): Promise<void>;
}

/** One kind of event about one object: the first occurrence is created, repeats are counted in its series. */
interface Remembered {
  readonly input: EventInput;
  readonly name: string;
  readonly firstAt: number;
  lastAt: number;
  count: number;
  writtenCount: number;
  /** The write under way or waiting for its time. */
  writing: boolean;
}

export function createEventRecorder(options: EventRecorderOptions): EventRecorder {
  return new SeriesRecorder(options);
}

class SeriesRecorder implements EventRecorder {
  readonly #options: EventRecorderOptions;
  readonly #bucket: TokenBucket;
  #made = 0;
  /** Least recently recorded first. */
  readonly #remembered = new Map<string, Remembered>();
  readonly #pending = new Set<Promise<void>>();
  readonly #stopping = new AbortController();

  constructor(options: EventRecorderOptions) {
    this.#options = options;
    this.#bucket = createTokenBucket(options.clock, WRITES_PER_SECOND, WRITE_BURST);
  }

  record(input: EventInput): void {
    if (this.#stopping.signal.aborted) return;
    const { uid, namespace, name } = input.regarding.metadata;
    const key = JSON.stringify([uid ?? `${namespace}/${name}`, input.type, input.reason, input.action, input.note]);
    const now = this.#options.clock.now();
    const known = this.#remembered.get(key);
    this.#remembered.delete(key);
    if (known && now - known.lastAt < SERIES_GAP_MS) {
      known.lastAt = now;
      known.count += 1;
      this.#remembered.set(key, known);
      this.#write(known, SERIES_WRITE_MS);
      return;
    }
    const fresh = {
      input,
      name: eventName(name, now, this.#made++),
      firstAt: now,
      lastAt: now,
      count: 1,
      writtenCount: 0,
      writing: false,
    };
    this.#remembered.set(key, fresh);
    this.#forgetOldest();
    this.#write(fresh, 0);
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error('event recorder stops'));
    while (this.#pending.size > 0) await Promise.all(this.#pending);
  }

  /** One write per kind at a time; it takes whatever count there is when it goes out. */
  #write(event: Remembered, delayMs: number): void {
    if (event.writing) return;
    if (this.#pending.size >= MAX_PENDING || !this.#bucket.take()) {
      this.#options.metrics.events.inc({ result: 'dropped' });
      this.#options.logger.debug(
        { reason: event.input.reason, object: event.input.regarding.metadata.name },
        'event dropped',
      );
      return;
    }
    event.writing = true;
    const writing = this.#writeNow(event, delayMs).then((attempted) => {
      event.writing = false;
      this.#pending.delete(writing);
      // Repeats that came in while the write was under way. One that failed is not tried again by itself.
      if (event.count > attempted) this.#write(event, SERIES_WRITE_MS);
    });
    this.#pending.add(writing);
  }

  /** Answers the count that it tried to write. Never rejects. */
  async #writeNow(event: Remembered, delayMs: number): Promise<number> {
    const { clock, metrics, logger } = this.#options;
    // Stopping cuts the wait short, not the write.
    if (delayMs > 0) await clock.sleep(delayMs, this.#stopping.signal).catch(() => {});
    const { count } = event;
    try {
      if (event.writtenCount === 0) await this.#create(event, count);
      else await this.#update(event, count);
      event.writtenCount = count;
      metrics.events.inc({ result: 'written' });
    } catch (err) {
      metrics.events.inc({ result: 'failed' });
      logger.warn(
        { reason: event.input.reason, object: event.input.regarding.metadata.name, err },
        'event could not be written',
      );
    }
    return count;
  }

  async #update(event: Remembered, count: number): Promise<void> {
    const ref = { name: event.name, namespace: namespaceOf(event.input.regarding) };
    const patch = { series: seriesOf(event, count) };
    try {
      await this.#options.client.patch(EVENTS, ref, patch, { type: 'merge', deadlineMs: WRITE_DEADLINE_MS });
    } catch (err) {
      if (!isNotFound(err)) throw err;
      // Events live for an hour; a series may be longer.
      await this.#create(event, count);
    }
  }

  async #create(event: Remembered, count: number): Promise<void> {
    const { client, controller, instance } = this.#options;
    const { regarding, type, reason, action, note } = event.input;
    const { name, namespace, uid, resourceVersion } = regarding.metadata;
    const body = {
      metadata: { name: event.name, namespace: namespaceOf(regarding) },
      eventTime: microTime(event.firstAt),
      type,
      reason: fitBytes(reason, MAX_LABEL),
      action: fitBytes(action, MAX_LABEL),
      note: fitBytes(note, MAX_NOTE),
      regarding: { apiVersion: regarding.apiVersion, kind: regarding.kind, name, namespace, uid, resourceVersion },
      reportingController: controller,
      reportingInstance: fitBytes(instance, MAX_LABEL),
      ...(count > 1 ? { series: seriesOf(event, count) } : {}),
    };
    await client.create(EVENTS, body, { deadlineMs: WRITE_DEADLINE_MS });
  }

  #forgetOldest(): void {
    if (this.#remembered.size <= MAX_REMEMBERED) return;
    const oldest = this.#remembered.keys().next().value;
    if (oldest !== undefined) this.#remembered.delete(oldest);
  }
}

/** Events about cluster-scoped objects live in `default`, where kubectl looks for them. */
function namespaceOf(regarding: KubeObject): string {
  return regarding.metadata.namespace || 'default';
}

function seriesOf(event: Remembered, count: number): { count: number; lastObservedTime: string } {
  return { count, lastObservedTime: microTime(event.lastAt) };
}

/** `<object>.<hex nanoseconds>`, as client-go names them; the sequence keeps those of one millisecond apart. */
function eventName(object: string, now: number, sequence: number): string {
  const nanos = BigInt(Math.floor(now)) * 1_000_000n + BigInt(sequence % 1_000_000);
  const suffix = `.${nanos.toString(16)}`;
  // A name cut at a dot or dash would not be a DNS subdomain.
  return object.slice(0, MAX_NAME - suffix.length).replace(/[.-]+$/, '') + suffix;
}
