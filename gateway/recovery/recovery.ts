// SPDX-License-Identifier: Apache-2.0
import { backoffDelay } from '#base/backoff.ts';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Registry } from '#base/metrics.ts';
import type { Random } from '#base/random.ts';
import type { AppSource } from '../apps/app-source.ts';
import type { LeaseQueue, Regression } from '../queue/lease-queue.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { Sweep } from '../sweeps.ts';
import { compareApp, isSound } from './comparison.ts';
import type { Comparison, ComparisonOptions, WentBack } from './comparison.ts';
import { createRecoveryMetrics } from './metrics.ts';
import { createMirror } from './mirror.ts';
import { startReflection } from './reflection.ts';
import { Runs } from './runs.ts';
import { createSlots } from './slots.ts';

/** Leases of an app wait so long for its recovery, no longer. A unit that waits asks again within RECHECK_MS (5 s): served within 60 s. */
const HOLD_MS = 45_000;
/** Calls of the store at once, over all apps: a thousand requests a second are looked at, and clients keep most of its connections. */
const STORE_CALLS_AT_ONCE = 16;
/** The ports open after this at the latest: a comparison takes milliseconds, the walk of one that lost something may take longer. */
const START_WAIT_MS = 2_000;
/** A comparison that is under way ends within one call of queue or store; one that never answers keeps no gateway from ending. */
const STOP_WAIT_MS = 5_000;
const RETRY = { firstMs: 250, maxMs: 5_000, factor: 2 };

export interface RecoveryOptions {
  readonly queue: Pick<LeaseQueue, 'generations' | 'generation' | 'run' | 'onRegression' | 'live' | 'salvage'>;
  readonly store: Pick<ObjectStore, 'get' | 'put' | 'list' | 'head'>;
  readonly apps: Pick<AppSource, 'list' | 'byUid' | 'onChange' | 'synced'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly registry: Registry;
}

/** Finds out that the queue has gone back in time, and has the gateway serve on from there. */
export interface Recovery extends Sweep {
  /** Resolves when the apps that are known have been compared, or after a moment. */
  start(): Promise<void>;
  /** Whether the app's leases are held back: its queue is not compared yet, or results of it are being looked for. */
  held(app: string): boolean;
  /** Hears of apps whose leases are no longer held back. */
  onLift(listener: (app: string) => void): () => void;
  /** Whether the queue's answers about this app can be believed now: what no record names is really nobody's. */
  trusted(app: string): Promise<boolean>;
  /** For people: what went back, and whether it is being worked on. */
  note(): string | undefined;
}

interface WatchedApp extends Comparison {
  /** Counts the reasons to compare: one that comes while a comparison runs makes for another. */
  reasons: number;
  comparing: boolean;
  /** Monotonic ms until when its leases are held back at most; 0 = they are not. */
  heldUntil: number;
}

export function createRecovery(options: RecoveryOptions): Recovery {
  return new QueueRecovery(options);
}

class QueueRecovery implements Recovery {
  readonly #options: RecoveryOptions;
  readonly #comparison: ComparisonOptions;
  readonly #runs: Runs;
  readonly #reflect: () => Sweep;
  readonly #stopping = new AbortController();
  readonly #apps = new Map<string, WatchedApp>();
  readonly #comparing = new Set<Promise<void>>();
  readonly #listeners = new Set<(app: string) => void>();
  readonly #lost = new Set<string>();
  #lostAt = 0;
  #reflection: Sweep | undefined;
  #forget: readonly (() => void)[] = [];

  constructor(options: RecoveryOptions) {
    const mirror = createMirror(options.store);
    const runs = new Runs(options.queue, mirror);
    const shared = { ...options, mirror, runs, slots: createSlots(STORE_CALLS_AT_ONCE) };
    this.#options = options;
    this.#runs = runs;
    this.#comparison = {
      ...shared,
      metrics: createRecoveryMetrics(options.registry, () => this.#countHeld()),
      signal: this.#stopping.signal,
      onLoss: (app) => {
        this.#lost.add(app);
        this.#lostAt = options.clock.now();
      },
    };
    this.#reflect = () => startReflection({ ...shared, isSettled: (run) => this.#isSettled(run) });
  }

  async start(): Promise<void> {
    const { queue, apps } = this.#options;
    this.#forget = [queue.onRegression((found) => this.#onRegression(found)), apps.onChange(() => this.#meetApps())];
    this.#meetApps();
    this.#reflection = this.#reflect();
    await this.#compared(START_WAIT_MS);
  }

  held(uid: string): boolean {
    if (this.#stopping.signal.aborted) return false;
    const app = this.#apps.get(uid);
    if (app !== undefined) return this.#isHeld(app);
    if (this.#options.apps.byUid(uid) === undefined) return false;
    this.#compare(uid);
    return true;
  }

  onLift(listener: (app: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async trusted(uid: string): Promise<boolean> {
    if (this.#options.apps.byUid(uid) === undefined) return true;
    const app = this.#apps.get(uid);
    if (app?.settledRun === undefined || app.comparing) return false;
    if (await isSound(this.#comparison, uid)) return true;
    this.#compare(uid);
    return false;
  }

  note(): string | undefined {
    const held = this.#countHeld();
    const lines = [
      ...(held === 0 ? [] : [`the queue of ${held} apps is being compared with what was known of it`]),
      ...(this.#lost.size === 0
        ? []
        : [`the queue of ${this.#lost.size} apps went back at ${new Date(this.#lostAt).toISOString()}, see the log`]),
    ];
    return lines.length === 0 ? undefined : lines.join('; ');
  }

  async stop(): Promise<void> {
    for (const forget of this.#forget) forget();
    this.#stopping.abort(new Error('the gateway stops'));
    await this.#compared(STOP_WAIT_MS);
    await this.#reflection?.stop();
  }

  async #compared(atMostMs: number): Promise<void> {
    const over = new AbortController();
    const late = this.#options.clock.sleep(atMostMs, over.signal).catch(() => undefined);
    await Promise.race([Promise.all(this.#comparing), late]);
    over.abort();
  }

  #isHeld(app: WatchedApp): boolean {
    if (app.heldUntil === 0) return false;
    const { clock, logger } = this.#options;
    if (clock.monotonic() < app.heldUntil) return true;
    logger.warn({ app: app.uid }, 'leases go on although the recovery of this app has not ended');
    app.heldUntil = 0;
    return false;
  }

  #countHeld(): number {
    const now = this.#options.clock.monotonic();
    return [...this.#apps.values()].filter(({ heldUntil }) => now < heldUntil).length;
  }

  /** Apps that are new to this process are compared; those that are gone are nobody's any more. */
  #meetApps(): void {
    const { apps } = this.#options;
    for (const { uid } of apps.list()) if (!this.#apps.has(uid)) this.#compare(uid);
    for (const uid of this.#apps.keys()) if (apps.byUid(uid) === undefined) this.#apps.delete(uid);
  }

  #onRegression(found: Regression): void {
    const { apps, logger } = this.#options;
    if (found.kind === 'restarted') {
      this.#runs.changed(found.run);
      logger.info({ run: found.run }, 'the queue was restarted: it is compared with what was known of it');
      for (const uid of this.#apps.keys()) this.#compare(uid);
    } else if (apps.byUid(found.app) !== undefined) {
      this.#compare(found.app, found);
    }
  }

  /** Holds the app's leases back and compares; while a comparison runs, once more after it. */
  #compare(uid: string, told?: WentBack): void {
    const app = this.#apps.get(uid) ?? { uid, reasons: 0, comparing: false, heldUntil: 0 };
    this.#apps.set(uid, app);
    app.reasons += 1;
    app.heldUntil = this.#options.clock.monotonic() + HOLD_MS;
    if (told !== undefined) app.told = told;
    if (app.comparing) return;
    app.comparing = true;
    const work = this.#settle(app).finally(() => this.#comparing.delete(work));
    this.#comparing.add(work);
  }

  /** Until there is no reason left: a store or queue that is away only delays it. */
  async #settle(app: WatchedApp): Promise<void> {
    const { clock, random, logger } = this.#options;
    const { signal } = this.#stopping;
    let failures = 0;
    for (let settled = 0; settled !== app.reasons && this.#apps.get(app.uid) === app && !signal.aborted;) {
      const { reasons } = app;
      try {
        await compareApp(this.#comparison, app);
        settled = reasons;
        failures = 0;
      } catch (err) {
        if (signal.aborted) break;
        if (failures === 0) logger.warn({ app: app.uid, err }, 'the app’s queue could not be compared; trying again');
        await clock.sleep(backoffDelay(RETRY, failures, random), signal).catch(() => undefined);
        failures += 1;
      }
    }
    app.comparing = false;
    app.heldUntil = 0;
    for (const listener of this.#listeners) listener(app.uid);
  }

  /** Every app that is known was compared under this run. */
  #isSettled(run: string): boolean {
    const { apps } = this.#options;
    return apps.synced() && apps.list().every(({ uid }) => this.#apps.get(uid)?.settledRun === run);
  }
}
