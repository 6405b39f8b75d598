// SPDX-License-Identifier: Apache-2.0
import type { StoredRequest } from '../stored-request.ts';
import { IndexedHeap } from './indexed-heap.ts';
import { Pending } from './pending.ts';
import type { QueueStore, StoredApp } from './store.ts';
import { Units } from './units.ts';

/** A request with the time at which something happens to it. */
export interface Due {
  readonly request: StoredRequest;
  readonly at: number;
}

const byTime = (a: Due, b: Due): boolean => a.at < b.at || (a.at === b.at && a.request.id < b.request.id);

/** One app in memory: everything live of it. Finished records are in the tables only. */
export class AppState {
  readonly stored: StoredApp;
  readonly live = new Map<string, StoredRequest>();
  readonly pending = new Pending();
  units = new Units();
  /** Running leases by their end. */
  readonly leases = new IndexedHeap<Due>(byTime, (due) => due.request.id);
  /** Queued requests that have a deadline. */
  readonly deadlines = new IndexedHeap<Due>(byTime, (due) => due.request.id);

  /** Not counted yet by a sweep; a restart sets all counters back, this one with them. */
  #deadLetters = 0;

  constructor(stored: StoredApp) {
    this.stored = stored;
  }

  noteDeadLetter(): void {
    this.#deadLetters++;
  }

  takeDeadLetters(): number {
    const taken = this.#deadLetters;
    this.#deadLetters = 0;
    return taken;
  }

  get closed(): boolean {
    return this.stored.phase !== 0;
  }

  /** The app is gone, its units with it. */
  forgetUnits(): void {
    this.units = new Units();
  }

  queue(request: StoredRequest): void {
    this.pending.add(request);
    if (request.deadline > 0) this.deadlines.put({ request, at: request.deadline });
  }

  unqueue(request: StoredRequest): void {
    this.pending.remove(request);
    this.deadlines.delete(request.id);
  }
}

/** All apps, rebuilt from the tables at start and after a rollback. */
export class QueueState {
  readonly apps = new Map<string, AppState>();

  app(uid: string): AppState {
    const known = this.apps.get(uid);
    if (known !== undefined) return known;
    const made = new AppState({ uid, seq: 0, phase: 0, phaseAt: 0 });
    this.apps.set(uid, made);
    return made;
  }

  load(store: QueueStore): void {
    this.apps.clear();
    for (const stored of store.apps()) this.apps.set(stored.uid, new AppState(stored));
    for (const { app, unit } of store.units()) this.app(app).units.restore(unit);
    for (const { request, expiresAt } of store.liveRequests()) this.#restore(request, expiresAt);
  }

  #restore(request: StoredRequest, expiresAt: number): void {
    const app = this.app(request.app);
    app.live.set(request.id, request);
    if (request.state === 'queued') {
      app.queue(request);
      return;
    }
    app.leases.put({ request, at: expiresAt });
    const unit = app.units.get(request.unit);
    if (unit !== undefined) unit.leases++;
  }
}
