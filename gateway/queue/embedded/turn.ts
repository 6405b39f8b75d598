// SPDX-License-Identifier: Apache-2.0
import type { DatabaseSync } from 'node:sqlite';
import type { Logger } from '#base/logger.ts';
import { QueueError } from '../errors.ts';
import type { QueueEvent } from '../lease-queue.ts';

interface Answer {
  readonly settle: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * Group commit: every call of one event-loop turn shares a transaction, and no answer and no event leaves before its commit.
 * When anything fails, the whole turn is rolled back, its callers hear of it, and the memory is rebuilt from the tables.
 */
export class Turn {
  readonly #db: DatabaseSync;
  readonly #reload: () => void;
  readonly #logger: Logger;
  readonly #listeners = new Set<(event: QueueEvent) => void>();
  #answers: Answer[] = [];
  #events = new Map<string, QueueEvent>();
  #open = false;
  #closed = false;

  constructor(db: DatabaseSync, reload: () => void, logger: Logger) {
    this.#db = db;
    this.#reload = reload;
    this.#logger = logger;
  }

  /** Runs `work` at once, inside the turn's transaction; its answer leaves after the commit. */
  run<T>(work: () => T): Promise<T> {
    if (this.#closed) return Promise.reject(new QueueError('closed', 'the queue is closed'));
    return new Promise<T>((resolve, reject) => {
      try {
        this.#begin();
        const result = work();
        this.#answers.push({ settle: () => resolve(result), reject });
      } catch (error) {
        this.#answers.push({ settle: () => {}, reject });
        this.#abandon(error);
      }
    });
  }

  emit(event: QueueEvent): void {
    this.#events.set(event.type === 'done' ? `done ${event.app} ${event.id}` : `ready ${event.app}`, event);
  }

  subscribe(listener: (event: QueueEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Commits what is open and refuses everything after. */
  close(): void {
    this.#commit();
    this.#closed = true;
    this.#listeners.clear();
  }

  #begin(): void {
    if (this.#open) return;
    this.#db.exec('BEGIN');
    this.#open = true;
    // The check phase follows the poll phase in which requests arrive: all of one loop iteration share the commit.
    setImmediate(() => this.#commit());
  }

  #commit(): void {
    if (!this.#open) return;
    try {
      this.#db.exec('COMMIT');
    } catch (error) {
      this.#abandon(error);
      return;
    }
    this.#open = false;
    const [answers, events] = [this.#answers, this.#events];
    this.#answers = [];
    this.#events = new Map();
    for (const answer of answers) answer.settle();
    for (const event of events.values()) this.#deliver(event);
  }

  #deliver(event: QueueEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        this.#logger.error({ err: error }, 'a listener of the queue threw');
      }
    }
  }

  #abandon(cause: unknown): void {
    const answers = this.#answers;
    this.#answers = [];
    this.#events = new Map();
    this.#open = false;
    this.#logger.error({ err: cause, calls: answers.length }, 'the embedded queue rolled a turn back');
    const error = new QueueError('unavailable', 'the queue could not write to its file; the call may be repeated', {
      cause,
    });
    try {
      if (this.#db.isTransaction) this.#db.exec('ROLLBACK');
      this.#reload();
    } finally {
      for (const answer of answers) answer.reject(error);
    }
  }
}
