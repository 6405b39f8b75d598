// SPDX-License-Identifier: Apache-2.0
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type {
  AppDemand,
  AppRemains,
  CancelOutcome,
  CommitOutcome,
  Completion,
  Durability,
  EnqueueOutcome,
  ExpireStep,
  ExtendOutcome,
  FailOutcome,
  Failure,
  Held,
  LeaseAnswer,
  LeaseQueue,
  LeaseRequest,
  LeaseToken,
  NewRequest,
  PurgeStep,
  QueueEvent,
  RequestRecord,
  SweepStep,
} from '../lease-queue.ts';
import { OBJECT_GRACE_MS, OVERDUE_STEP, RETIRED_MEMORY_MS, RETIRED_SHOWN_MS, TOMBSTONE_MS } from '../limits.ts';
import { checkApp, checkBatch, checkEnqueue, checkLease, checkLeaseMs, checkPayload, checkUnit } from '../validate.ts';
import { QueueState } from './app-state.ts';
import { openDatabase } from './database.ts';
import { enqueue } from './enqueueing.ts';
import { expireApp } from './expiring.ts';
import { cancel, complete, extend, fail, release } from './finishing.ts';
import { lease } from './leasing.ts';
import { endOverdue, matches, recordOf } from './step.ts';
import type { Step } from './step.ts';
import { QueueStore } from './store.ts';
import { purge, sweep } from './sweeping.ts';
import { Turn } from './turn.ts';
import type { Unit } from './units.ts';

export interface EmbeddedQueueOptions {
  /** Path of the SQLite file, or ':memory:' (nothing survives, for tests). */
  readonly file: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** @throws QueueError `locked`, `layout` */
export function openEmbeddedQueue(options: EmbeddedQueueOptions): LeaseQueue {
  const database = openDatabase(options.file);
  const store = new QueueStore(database);
  const state = new QueueState();
  state.load(store);
  const turn = new Turn(database, () => state.load(store), options.logger);
  return new EmbeddedQueue(options, database, store, state, turn);
}

/** The queue of one process: live state in memory, every change written through, one commit per event-loop turn. */
class EmbeddedQueue implements LeaseQueue {
  readonly #options: EmbeddedQueueOptions;
  readonly #database: DatabaseSync;
  readonly #store: QueueStore;
  readonly #state: QueueState;
  readonly #turn: Turn;

  constructor(options: EmbeddedQueueOptions, database: DatabaseSync, store: QueueStore, state: QueueState, turn: Turn) {
    this.#options = options;
    this.#database = database;
    this.#store = store;
    this.#state = state;
    this.#turn = turn;
  }

  async enqueue(requests: readonly NewRequest[], now?: number): Promise<readonly EnqueueOutcome[]> {
    checkEnqueue(requests);
    return this.#turn.run(() => requests.map((request) => enqueue(this.#step(request.app, now), request)));
  }

  async lease(request: LeaseRequest, now?: number): Promise<LeaseAnswer> {
    checkLease(request);
    return this.#turn.run(() => lease(this.#step(request.app, now), request));
  }

  async extend(
    app: string,
    unit: string,
    held: readonly Held[],
    leaseMs: number,
    now?: number,
  ): Promise<readonly ExtendOutcome[]> {
    checkApp(app);
    checkBatch('held', held);
    checkLeaseMs(leaseMs);
    return this.#turn.run(() => extend(this.#step(app, now), unit, held, leaseMs));
  }

  async complete(
    app: string,
    unit: string,
    done: readonly Completion[],
    now?: number,
  ): Promise<readonly CommitOutcome[]> {
    checkApp(app);
    checkBatch('done', done);
    for (const one of done) checkPayload('result', one.result);
    return this.#turn.run(() => done.map((one) => complete(this.#step(app, now), unit, one)));
  }

  async fail(app: string, unit: string, failed: readonly Failure[], now?: number): Promise<readonly FailOutcome[]> {
    checkApp(app);
    checkBatch('failed', failed);
    return this.#turn.run(() => failed.map((one) => fail(this.#step(app, now), unit, one)));
  }

  async release(
    app: string,
    unit: string,
    held: readonly Held[],
    now?: number,
  ): Promise<readonly ('requeued' | 'lost' | 'cancelled')[]> {
    checkApp(app);
    checkBatch('held', held);
    return this.#turn.run(() => held.map((one) => release(this.#step(app, now), unit, one)));
  }

  async get(app: string, id: string): Promise<RequestRecord | undefined> {
    return this.#turn.run(() => {
      const found = this.#state.apps.get(app)?.live.get(id) ?? this.#store.request(id)?.request;
      return found?.app === app ? recordOf(this.#step(app), found) : undefined;
    });
  }

  async cancel(app: string, id: string, now?: number): Promise<CancelOutcome> {
    checkApp(app);
    return this.#turn.run(() => cancel(this.#step(app, now), id));
  }

  async expire(current: ReadonlyMap<string, string>, now?: number): Promise<ExpireStep> {
    return this.#turn.run(() => {
      let expired = 0;
      let deadLetters = 0;
      let nextAt: number | undefined;
      for (const app of this.#state.apps.values()) {
        const step = this.#step(app.stored.uid, now);
        if (this.#forgetApp(step)) continue;
        const ended = expireApp(step, current.get(app.stored.uid));
        expired += ended.expired;
        deadLetters += app.takeDeadLetters();
        nextAt = Math.min(nextAt ?? Infinity, ended.nextAt ?? Infinity);
      }
      return { expired, deadLetters, ...(nextAt === undefined || nextAt === Infinity ? {} : { nextAt }) };
    });
  }

  async retire(app: string, unit: string, now?: number): Promise<'retired' | 'busy'> {
    checkApp(app);
    checkUnit(unit);
    return this.#turn.run(() => {
      const step = this.#step(app, now);
      endOverdue(step, OVERDUE_STEP);
      if ((step.app.units.get(unit)?.leases ?? 0) > 0) return 'busy';
      if (step.app.stored.phase === 2) return 'retired';
      step.store.saveUnit(app, step.app.units.retire(unit, step.now));
      step.emit({ type: 'ready', app });
      return 'retired';
    });
  }

  async demand(app: string): Promise<AppDemand> {
    checkApp(app);
    return this.#turn.run(() => {
      const found = this.#state.apps.get(app);
      if (found === undefined) return { queued: 0, queuedByRevision: {}, leased: 0, units: [] };
      const queuedByRevision = found.pending.queuedByRevision();
      const queued = Object.values(queuedByRevision).reduce((sum, one) => sum + one, 0);
      const oldestQueuedAt = found.pending.oldestAt();
      const isShown = ({ retired, forgetAt }: Unit): boolean =>
        !retired || forgetAt >= this.#options.clock.now() + RETIRED_MEMORY_MS - RETIRED_SHOWN_MS;
      const units = [...found.units.all()].filter(isShown).map(({ unit, revision, leases, lastSeenAt, retired }) => ({
        unit,
        revision,
        leases,
        lastSeenAt,
        retired,
      }));
      return {
        queued,
        queuedByRevision,
        leased: found.leases.size,
        ...(oldestQueuedAt === undefined ? {} : { oldestQueuedAt }),
        units,
      };
    });
  }

  async remains(app: string): Promise<AppRemains> {
    checkApp(app);
    return this.#turn.run(() => ({
      closed: (this.#state.apps.get(app)?.stored.phase ?? 0) > 0,
      sweptUpTo: this.#store.sweptUpTo(app),
    }));
  }

  async sweep(limit: number, now?: number): Promise<SweepStep> {
    return this.#turn.run(() => sweep(this.#store, limit, now ?? this.#options.clock.now()));
  }

  async forget(keys: readonly string[]): Promise<void> {
    return this.#turn.run(() => {
      for (const key of keys) this.#store.forgetObject(key);
    });
  }

  async noteObject(app: string, id: string, token: LeaseToken, key: string, now?: number): Promise<boolean> {
    checkApp(app);
    return this.#turn.run(() => {
      const step = this.#step(app, now);
      const request = step.app.live.get(id);
      if (request === undefined || !matches(request, request.unit, { id, token })) return false;
      step.store.noteObject({ app, key, id, epoch: request.epoch }, step.now + OBJECT_GRACE_MS);
      return true;
    });
  }

  async purge(app: string, limit: number, now?: number): Promise<PurgeStep> {
    checkApp(app);
    return this.#turn.run(() => purge(this.#step(app, now), limit));
  }

  subscribe(listener: (event: QueueEvent) => void): () => void {
    return this.#turn.subscribe(listener);
  }

  async durability(): Promise<Durability> {
    // Read back, not assumed: a file in memory has no disk, and synchronous below FULL (2) may lose the last commits on power loss.
    const file = this.#database.location() ?? '';
    const level = Number(this.#database.prepare('PRAGMA synchronous').get()?.['synchronous']);
    if (file === '') return 'none';
    return level >= 2 ? 'fsync' : 'everysec';
  }

  async ping(): Promise<void> {
    return this.#turn.run(() => {
      this.#database.prepare('SELECT 1').get();
    });
  }

  async close(): Promise<void> {
    if (!this.#database.isOpen) return;
    this.#turn.close();
    this.#database.close();
  }

  #step(app: string, now?: number): Step {
    return {
      store: this.#store,
      app: this.#state.app(app),
      now: now ?? this.#options.clock.now(),
      emit: (event) => this.#turn.emit(event),
    };
  }

  /** Drops an app that was purged long ago, and one that a call only asked about. */
  #forgetApp({ app, now }: Step): boolean {
    const { uid, seq, phase, phaseAt } = app.stored;
    const buried = phase === 2 && phaseAt + TOMBSTONE_MS <= now;
    const empty = phase === 0 && seq === 0 && app.units.nextForgotten() === undefined;
    if (!buried && !empty) return false;
    this.#store.forgetApp(uid);
    this.#state.apps.delete(uid);
    return true;
  }
}
