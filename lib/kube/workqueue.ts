// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { RateLimiter } from './rate-limiter.ts';

/** Longest delay: setTimeout fires at once beyond 2^31 ms (24.8 days), and a day is as good as never. */
const MAX_DELAY_MS = 24 * 3600 * 1000;

/**
 * client-go's workqueue: a key is in the queue at most once and with one worker at a time; a key added while a worker has it
 * comes again after `done`, so no change is missed and no key runs twice at once.
 */
export interface Workqueue {
  add(key: string): void;
  /** Adds the key after `ms`; of several pending delays the earliest counts. */
  addAfter(key: string, ms: number): void;
  /** After a failure: adds the key after its backoff, and not before `atLeastMs` (what a server asked for). */
  addRateLimited(key: string, atLeastMs?: number): void;
  /** After a success: the key's next failure starts its backoff anew. */
  forget(key: string): void;
  failures(key: string): number;
  /** The next key, or undefined after shutdown, when the queue is empty. Call `done` when its work has ended. */
  get(): Promise<{ readonly key: string; readonly waitedMs: number } | undefined>;
  done(key: string): void;
  depth(): number;
  /** Takes no more keys and drops delayed ones; what is queued is still given out. Resolves when all of it is done. */
  shutdown(): Promise<void>;
}

export function createWorkqueue(
  clock: Clock,
  limiter: RateLimiter,
  onDepth: (depth: number) => void = () => {},
): Workqueue {
  return new KeyQueue(clock, limiter, onDepth);
}

interface Delayed {
  readonly due: number;
  readonly cancel: AbortController;
}

class KeyQueue implements Workqueue {
  readonly #clock: Clock;
  readonly #limiter: RateLimiter;
  readonly #onDepth: (depth: number) => void;
  /** Keys in order, with the time of entry. A Map gives order and dedupe in one. */
  readonly #queue = new Map<string, number>();
  readonly #processing = new Set<string>();
  /** Added while being processed. */
  readonly #again = new Set<string>();
  readonly #delayed = new Map<string, Delayed>();
  readonly #waiters: (() => void)[] = [];
  readonly #drained = Promise.withResolvers<void>();
  #closed = false;

  constructor(clock: Clock, limiter: RateLimiter, onDepth: (depth: number) => void) {
    this.#clock = clock;
    this.#limiter = limiter;
    this.#onDepth = onDepth;
    onDepth(0);
  }

  add(key: string): void {
    if (this.#closed) return;
    this.#enqueue(key);
  }

  addAfter(key: string, ms: number): void {
    if (this.#closed) return;
    if (!(ms > 0)) return this.add(key);
    const due = this.#clock.monotonic() + Math.min(ms, MAX_DELAY_MS);
    const pending = this.#delayed.get(key);
    if (pending && pending.due <= due) return;
    pending?.cancel.abort();
    const delayed: Delayed = { due, cancel: new AbortController() };
    this.#delayed.set(key, delayed);
    const expire = async (): Promise<void> => {
      await this.#clock.sleep(due - this.#clock.monotonic(), delayed.cancel.signal);
      this.#delayed.delete(key);
      this.add(key);
    };
    expire().catch(() => {});
  }

  addRateLimited(key: string, atLeastMs = 0): void {
    this.addAfter(key, Math.max(atLeastMs, this.#limiter.next(key)));
  }

  forget(key: string): void {
    this.#limiter.forget(key);
  }

  failures(key: string): number {
    return this.#limiter.failures(key);
  }

  async get(): Promise<{ key: string; waitedMs: number } | undefined> {
    for (;;) {
      const first = this.#queue.entries().next().value;
      if (first) return this.#take(...first);
      if (this.#closed) return undefined;
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.push(resolve);
      await promise;
    }
  }

  done(key: string): void {
    this.#processing.delete(key);
    // Also after shutdown: the change came before it, and the queue drains.
    if (this.#again.delete(key)) this.#enqueue(key);
    this.#settle();
  }

  depth(): number {
    return this.#queue.size;
  }

  shutdown(): Promise<void> {
    this.#closed = true;
    for (const { cancel } of this.#delayed.values()) cancel.abort();
    this.#delayed.clear();
    for (const wake of this.#waiters.splice(0)) wake();
    this.#settle();
    return this.#drained.promise;
  }

  #enqueue(key: string): void {
    if (this.#processing.has(key)) {
      this.#again.add(key);
      return;
    }
    if (this.#queue.has(key)) return;
    this.#queue.set(key, this.#clock.monotonic());
    this.#onDepth(this.#queue.size);
    this.#waiters.shift()?.();
  }

  #take(key: string, since: number): { key: string; waitedMs: number } {
    this.#queue.delete(key);
    this.#processing.add(key);
    this.#onDepth(this.#queue.size);
    return { key, waitedMs: this.#clock.monotonic() - since };
  }

  #settle(): void {
    if (this.#closed && this.#queue.size === 0 && this.#processing.size === 0) this.#drained.resolve();
  }
}
