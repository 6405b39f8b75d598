// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '#base/logger.ts';
import type { Regression } from '../lease-queue.ts';

/** Apps whose generation a process remembers; beyond, those it has not heard of for longest go. */
const MAX_APPS = 10_000;

/**
 * What this process knows of the store's past. Every script answers its app's generation, which only grows: answers come in the order
 * of the calls on one connection, so a smaller one shows that the store has lost what it had answered before.
 */
export class Generations {
  readonly #highest = new Map<string, number>();
  /** Apps told of as gone back, until they are beyond what was seen before, or the store has another process. */
  readonly #told = new Set<string>();
  readonly #listeners = new Set<(found: Regression) => void>();
  readonly #logger: Logger;
  #run: string | undefined;

  /** @param onLoss hears of everything before any listener does */
  constructor(logger: Logger, onLoss?: () => void) {
    this.#logger = logger;
    if (onLoss !== undefined) this.#listeners.add(onLoss);
  }

  highest(): ReadonlyMap<string, number> {
    return this.#highest;
  }

  listen(listener: (found: Regression) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** An answer of the app's queue. */
  note(app: string, found: number): void {
    const seen = this.#highest.get(app) ?? 0;
    if (found === seen) return;
    if (found > seen) {
      this.#highest.delete(app);
      this.#highest.set(app, found);
      // Recovered, or overtaken: the next step back is another one, also of a process that runs on (FLUSHALL).
      this.#told.delete(app);
      if (this.#highest.size > MAX_APPS) this.#highest.delete(this.#highest.keys().next().value ?? '');
      return;
    }
    if (this.#told.has(app)) return;
    this.#told.add(app);
    this.#tell({ kind: 'went-back', app, seen, found });
  }

  /** The app is gone for good; a tombstone that ends begins at 0 again. */
  forget(app: string): void {
    this.#highest.delete(app);
    this.#told.delete(app);
  }

  /** The store's process, as the connection that was made just now finds it. */
  noteRun(run: string): void {
    if (this.#run === run) return;
    const isFirst = this.#run === undefined;
    this.#run = run;
    this.#told.clear();
    if (!isFirst) this.#tell({ kind: 'restarted', run });
  }

  close(): void {
    this.#listeners.clear();
  }

  #tell(found: Regression): void {
    this.#logger.warn({ found }, 'the queue in Redis may have lost its newest writes');
    for (const listener of this.#listeners) {
      try {
        listener(found);
      } catch (error) {
        this.#logger.error({ err: error }, 'a listener of the queue threw');
      }
    }
  }
}
