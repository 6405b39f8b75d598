// SPDX-License-Identifier: Apache-2.0
import type { DatabaseSync } from 'node:sqlite';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import { systemRandom } from '#base/random.ts';
import type { Random } from '#base/random.ts';
import type {
  AppDemand,
  AppRemains,
  CancelOutcome,
  CommitOutcome,
  Completion,
  DeadLetterFilter,
  DeadLetterPage,
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
  LivePage,
  NewRequest,
  Payload,
  PurgeStep,
  QueueEvent,
  Redrive,
  RedriveOutcome,
  Regression,
  RequestRecord,
  SweepStep,
  TenantShare,
} from '../lease-queue.ts';
import { commitOutcomes } from '../commits.ts';
import { OBJECT_GRACE_MS, OVERDUE_STEP, TOMBSTONE_MS } from '../limits.ts';
import {
  checkApp,
  checkBatch,
  checkEnqueue,
  checkLease,
  checkLeaseMs,
  checkPayload,
  checkRedrives,
  checkShares,
  checkUnit,
} from '../validate.ts';
import { QueueState } from './app-state.ts';
import type { AppState } from './app-state.ts';
import { openDatabase } from './database.ts';
import { deadLetters, discard, redrive } from './dead-letters.ts';
import { demandOf } from './demand.ts';
import { enqueue } from './enqueueing.ts';
import { expireApp } from './expiring.ts';
import { cancel, complete, extend, fail, release } from './finishing.ts';
import { lease } from './leasing.ts';
import { live, salvage } from './recovering.ts';
import { revocations, revoke } from './revocations.ts';
import { endOverdue, matches, recordOf, requestOf } from './step.ts';
import type { Step } from './step.ts';
import { QueueStore } from './store.ts';
import { purge, sweep } from './sweeping.ts';
import { Turn } from './turn.ts';

export interface EmbeddedQueueOptions {
  /** Path of the SQLite file, or ':memory:' (nothing survives, for tests). */
  readonly file: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly random?: Random;
}

/** @throws QueueError `locked`, `layout` */
export function openEmbeddedQueue(options: EmbeddedQueueOptions): LeaseQueue {
  const database = openDatabase(options.file);
  const store = new QueueStore(database);
  const state = new QueueState();
  state.load(store);
  const reload = (): void => {
    store.takeTouched();
    state.load(store);
  };
  return new EmbeddedQueue(options, database, store, state, new Turn(database, reload, options.logger));
}

/** The queue of one process: live state in memory, every change written through, one commit per event-loop turn. */
class EmbeddedQueue implements LeaseQueue {
  readonly #options: EmbeddedQueueOptions;
  readonly #database: DatabaseSync;
  readonly #store: QueueStore;
  readonly #state: QueueState;
  readonly #turn: Turn;
  readonly #identity: string;
  /** Apps that the running call works on. */
  readonly #stepped = new Set<AppState>();
  /** Highest generation of each app that has left this process. */
  readonly #answered = new Map<string, number>();

  constructor(options: EmbeddedQueueOptions, database: DatabaseSync, store: QueueStore, state: QueueState, turn: Turn) {
    this.#options = options;
    this.#database = database;
    this.#store = store;
    this.#state = state;
    this.#turn = turn;
    this.#identity = Buffer.from((options.random ?? systemRandom).bytes(16)).toString('hex');
  }

  async enqueue(requests: readonly NewRequest[], now?: number): Promise<readonly EnqueueOutcome[]> {
    checkEnqueue(requests);
    return this.#run(() => requests.map((request) => enqueue(this.#step(request.app, now), request)));
  }

  async lease(request: LeaseRequest, now?: number): Promise<LeaseAnswer> {
    checkLease(request);
    return this.#run(() => lease(this.#step(request.app, now), request));
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
    return this.#run(() => extend(this.#step(app, now), unit, held, leaseMs));
  }

  async complete(
    app: string,
    unit: string,
    done: readonly Completion[],
    now?: number,
    onRepeat?: (place: number) => void,
  ): Promise<readonly CommitOutcome[]> {
    checkApp(app);
    checkBatch('done', done);
    for (const one of done) checkPayload('result', one.result);
    const all = await this.#run(() => done.map((one) => complete(this.#step(app, now), unit, one)));
    return commitOutcomes(all, onRepeat);
  }

  async fail(app: string, unit: string, failed: readonly Failure[], now?: number): Promise<readonly FailOutcome[]> {
    checkApp(app);
    checkBatch('failed', failed);
    return this.#run(() => failed.map((one) => fail(this.#step(app, now), unit, one)));
  }

  async release(
    app: string,
    unit: string,
    held: readonly Held[],
    now?: number,
  ): Promise<readonly ('requeued' | 'lost' | 'cancelled')[]> {
    checkApp(app);
    checkBatch('held', held);
    return this.#run(() => held.map((one) => release(this.#step(app, now), unit, one)));
  }

  async get(app: string, id: string): Promise<RequestRecord | undefined> {
    return this.#run(() => {
      const step = this.#step(app);
      const found = requestOf(step, id);
      return found === undefined ? undefined : recordOf(step, found);
    });
  }

  outcome: LeaseQueue['outcome'] = (app, id) => this.get(app, id);

  async cancel(app: string, id: string, now?: number): Promise<CancelOutcome> {
    checkApp(app);
    return this.#run(() => cancel(this.#step(app, now), id));
  }

  async expire(current: ReadonlyMap<string, string>, now?: number): Promise<ExpireStep> {
    return this.#run(() => {
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
    return this.#run(() => {
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
    return this.#run(() => demandOf(this.#state.apps.get(app), this.#options.clock.now()));
  }

  async setShares(app: string, shares: ReadonlyMap<string, TenantShare>, now?: number): Promise<void> {
    checkApp(app);
    checkShares(shares);
    return this.#run(() => {
      const step = this.#step(app, now);
      const byName = [...shares].sort(([a], [b]) => (a < b ? -1 : 1));
      const freed = byName.filter(([name, share]) => step.app.fair.changeShare(name, share));
      if (freed.length > 0) step.emit({ type: 'ready', app });
    });
  }

  async deadLetters(app: string, filter: DeadLetterFilter, limit: number, cursor?: string): Promise<DeadLetterPage> {
    checkApp(app);
    return this.#run(() => deadLetters(this.#step(app), filter, limit, cursor));
  }

  async redrive(app: string, letters: readonly Redrive[], now?: number): Promise<readonly RedriveOutcome[]> {
    checkApp(app);
    checkRedrives(letters);
    return this.#run(() => letters.map((letter) => redrive(this.#step(app, now), letter)));
  }

  async discard(app: string, ids: readonly string[], now?: number): Promise<number> {
    checkApp(app);
    checkBatch('ids', ids);
    return this.#run(() => discard(this.#step(app, now), ids));
  }

  async deadLetterCount(app: string): Promise<number> {
    checkApp(app);
    return this.#run(() => this.#store.letterCount(app));
  }

  generations(): ReadonlyMap<string, number> {
    return this.#answered;
  }

  async run(): Promise<string> {
    return this.#identity;
  }

  /** Never heard of here: the file cannot go back under a process that holds it; one put in its place earlier shows in `generation`. */
  onRegression(_listener: (found: Regression) => void): () => void {
    return () => {};
  }

  async generation(app: string, atLeast = 0): Promise<number> {
    checkApp(app);
    const generation = await this.#run(() => {
      const { stored } = this.#step(app).app;
      if (stored.generation >= atLeast) return stored.generation;
      // The end of this call counts one more.
      stored.generation = atLeast - 1;
      this.#store.touch(app);
      return atLeast;
    });
    this.#note(app, generation);
    return generation;
  }

  async live(app: string, limit: number, cursor?: string): Promise<LivePage> {
    checkApp(app);
    return this.#run(() => live(this.#step(app), limit, cursor));
  }

  async salvage(app: string, id: string, result: Payload, now?: number): Promise<'committed' | 'lost'> {
    checkApp(app);
    checkPayload('result', result);
    return this.#run(() => salvage(this.#step(app, now), id, result));
  }

  async remains(app: string): Promise<AppRemains> {
    checkApp(app);
    return this.#run(() => ({
      closed: (this.#state.apps.get(app)?.stored.phase ?? 0) > 0,
      sweptUpTo: this.#store.sweptUpTo(app),
    }));
  }

  async sweep(limit: number, now?: number): Promise<SweepStep> {
    return this.#run(() => sweep(this.#store, limit, now ?? this.#options.clock.now()));
  }

  async forget(keys: readonly string[]): Promise<void> {
    return this.#run(() => {
      for (const key of keys) this.#store.forgetObject(key);
    });
  }

  async noteObject(app: string, id: string, token: LeaseToken, key: string, now?: number): Promise<boolean> {
    checkApp(app);
    return this.#run(() => {
      const step = this.#step(app, now);
      const request = step.app.live.get(id);
      if (request === undefined || !matches(request, request.unit, { id, token })) return false;
      step.store.noteObject({ app, key, id, epoch: request.epoch }, step.now + OBJECT_GRACE_MS);
      return true;
    });
  }

  async purge(app: string, limit: number, now?: number): Promise<PurgeStep> {
    checkApp(app);
    return this.#run(() => purge(this.#step(app, now), limit));
  }

  subscribe(listener: (event: QueueEvent) => void): () => void {
    return this.#turn.subscribe(listener);
  }

  async revoke(entry: string, until: number, now = this.#options.clock.now()): Promise<boolean> {
    return this.#run(() => revoke(this.#database, entry, until, now));
  }

  async revocations(): Promise<ReadonlyMap<string, number>> {
    return this.#run(() => revocations(this.#database));
  }

  async durability(): Promise<Durability> {
    // Read back, not assumed: a file in memory has no disk, and synchronous below FULL (2) may lose the last commits on power loss.
    const file = this.#database.location() ?? '';
    const level = Number(this.#database.prepare('PRAGMA synchronous').get()?.['synchronous']);
    if (file === '') return 'none';
    return level >= 2 ? 'fsync' : 'everysec';
  }

  async ping(): Promise<void> {
    return this.#run(() => {
      this.#database.prepare('SELECT 1').get();
    });
  }

  async close(): Promise<void> {
    if (!this.#database.isOpen) return;
    this.#turn.close();
    this.#database.close();
  }

  /** One call: its changes are of one generation of each app, and that leaves the process only with the commit. */
  async #run<T>(work: () => T): Promise<T> {
    const { result, grown } = await this.#turn.run(() => {
      const done = work();
      return { result: done, grown: this.#saveTouched() };
    });
    for (const [app, generation] of grown) this.#note(app, generation);
    return result;
  }

  #saveTouched(): (readonly [string, number])[] {
    for (const app of this.#stepped) if (app.fair.hasChanged) this.#store.touch(app.stored.uid);
    this.#stepped.clear();
    return this.#store.takeTouched().flatMap((uid) => {
      const app = this.#state.apps.get(uid);
      if (app === undefined) return [];
      app.save(this.#store);
      return [[uid, app.stored.generation] as const];
    });
  }

  #note(app: string, generation: number): void {
    this.#answered.set(app, Math.max(generation, this.#answered.get(app) ?? 0));
  }

  #step(uid: string, now?: number): Step {
    const app = this.#state.app(uid);
    this.#stepped.add(app);
    return {
      store: this.#store,
      app,
      now: now ?? this.#options.clock.now(),
      emit: (event) => this.#turn.emit(event),
    };
  }

  /** Drops an app that was purged long ago, and one that a call only asked about. */
  #forgetApp({ app, now }: Step): boolean {
    const { uid, generation, phase, phaseAt } = app.stored;
    const buried = phase === 2 && phaseAt + TOMBSTONE_MS <= now;
    const empty = phase === 0 && generation === 0;
    if (!buried && !empty) return false;
    this.#store.forgetApp(uid);
    this.#state.apps.delete(uid);
    this.#answered.delete(uid);
    return true;
  }
}
