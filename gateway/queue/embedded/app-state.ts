// SPDX-License-Identifier: Apache-2.0
import { Estimates } from './estimates.ts';
import { FairQueue } from './fair-queue.ts';
import { IndexedHeap } from './indexed-heap.ts';
import type { QueuedRequest } from './request.ts';
import type { QueueStore, StoredApp } from './store.ts';
import { Units } from './units.ts';

/** A request with the time at which something happens to it. */
export interface Due {
  readonly request: QueuedRequest;
  readonly at: number;
}

const byTime = (a: Due, b: Due): boolean => a.at < b.at || (a.at === b.at && a.request.id < b.request.id);

/** One app in memory: everything live of it. Finished records are in the tables only. */
export class AppState {
  readonly stored: StoredApp;
  readonly live = new Map<string, QueuedRequest>();
  readonly fair = new FairQueue();
  readonly estimates = new Estimates();
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

  queue(request: QueuedRequest): void {
    this.fair.add(request);
    this.#watch(request);
  }

  unqueue(request: QueuedRequest): void {
    this.fair.remove(request);
    this.deadlines.delete(request.id);
  }

  /** The request has ended. Whether other work of its tenant may be given now. */
  drop(request: QueuedRequest): boolean {
    this.live.delete(request.id);
    if (this.live.size > 0) return this.fair.ended(request.tenant);
    this.fair.reset();
    return false;
  }

  /** As read from the tables; leased requests before queued ones. */
  restore(request: QueuedRequest, expiresAt: number): void {
    this.live.set(request.id, request);
    this.fair.restore(request);
    if (request.state === 'queued') {
      this.#watch(request);
      return;
    }
    this.leases.put({ request, at: expiresAt });
    const unit = this.units.get(request.unit);
    if (unit === undefined) return;
    unit.leases++;
    if (request.losses > 0) unit.suspects++;
  }

  /** Writes what the call has changed of the app itself and of its tenants. */
  save(store: QueueStore): void {
    const { stored, fair } = this;
    for (const [name, tenant] of fair.takeChanged())
      if (tenant === undefined) store.fair.deleteTenant(stored.uid, name);
      else store.fair.saveTenant(stored.uid, tenant);
    stored.generation++;
    const { virtual, drain, sharing } = fair;
    store.saveApp(stored, { virtual, drain, periods: sharing.periods, sharing: sharing.running() });
  }

  #watch(request: QueuedRequest): void {
    if (request.deadline > 0) this.deadlines.put({ request, at: request.deadline });
  }
}

/** All apps, rebuilt from the tables at start and after a rollback. */
export class QueueState {
  readonly apps = new Map<string, AppState>();

  app(uid: string): AppState {
    const known = this.apps.get(uid);
    if (known !== undefined) return known;
    const made = new AppState({ uid, seq: 0, phase: 0, phaseAt: 0, generation: 0 });
    this.apps.set(uid, made);
    return made;
  }

  load(store: QueueStore): void {
    this.apps.clear();
    for (const { stored, fair } of store.apps()) {
      const app = new AppState(stored);
      Object.assign(app.fair.virtual, fair.virtual);
      app.fair.drain = fair.drain;
      app.fair.sharing.restore(fair.periods, fair.sharing);
      this.apps.set(stored.uid, app);
    }
    for (const { app, tenant } of store.fair.tenants()) this.app(app).fair.restoreTenant(tenant);
    for (const { app, revision, size, micros } of store.fair.estimates())
      this.app(app).estimates.restore(revision, size, micros);
    for (const { app, unit } of store.units()) this.app(app).units.restore(unit);
    const queued: QueuedRequest[] = [];
    for (const { request, expiresAt } of store.liveRequests()) {
      if (request.state === 'queued') queued.push(request);
      else this.app(request.app).restore(request, expiresAt);
    }
    for (const request of queued) this.app(request.app).restore(request, 0);
    // What restoring has touched is as it was stored.
    for (const app of this.apps.values()) app.fair.takeChanged();
  }
}
