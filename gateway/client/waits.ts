// SPDX-License-Identifier: Apache-2.0
import { FINAL_STATES } from '../queue/lease-queue.ts';
import type { LeaseQueue, RequestState } from '../queue/lease-queue.ts';
import type { RequestOutcome, ToldOutcome } from '../queue/request-outcome.ts';
import type { Clock } from '#base/clock.ts';
import { MAX_WAITING_CLIENTS, RECHECK_MS } from '../limits.ts';
import { Bells, createBell } from './bells.ts';
import type { Bell } from './bells.ts';

export function isFinal(state: RequestState): boolean {
  return (FINAL_STATES as readonly string[]).includes(state);
}

/** Registers whom to ring when the client has gone, and answers how to take that back. */
export type Gone = (ring: () => void) => () => void;

/** What ended a wait. `commit`: this replica's own, `event`: the queue's. */
export type WokenBy = 'commit' | 'event' | 'recheck';

/** Clients that hold their connection until a request ends. */
export interface Waits {
  /**
   * The outcome as soon as it is final, else as it is after `waitMs`, when the client has gone, or when the gateway stops.
   * Undefined when there is none.
   */
  untilFinal(app: string, id: string, waitMs: number, gone: Gone): Promise<ToldOutcome | undefined>;
  /**
   * For a request that is about to be queued: from now on its end is heard of, so that whoever knows it to be queued since need not look
   * before waiting. Undefined when nobody may wait. The caller leaves in any case.
   */
  watch(app: string, id: string): Watch | undefined;
  /**
   * For results that this replica is about to commit: who waits here is told of the end by the commit itself, without a look at the
   * queue. The queue's events of these requests wait for that, as most often they come in the same instant.
   */
  committing(ids: readonly string[]): Commit;
  readonly count: () => number;
  /** Answers everyone who waits; later calls do not wait. */
  stop(): void;
}

export interface Commit {
  /**
   * It has been answered, or has failed; the caller says so in any case. Whoever is not told, and was sent an event, looks for himself.
   * @param toldOf how the request at this place ended, where the answer says so
   */
  over(toldOf?: (place: number) => ToldOutcome | undefined): void;
}

export interface Watch {
  readonly id: string;
  /** As `Waits.untilFinal`, without a first look. */
  untilFinal(waitMs: number, gone: Gone): Promise<ToldOutcome | undefined>;
  leave(): void;
}

/**
 * Woken by this replica's own commits and by the queue's `done` events, whichever replica caused them; looks again every 5 s in case one
 * was lost.
 * @param wokenFor hears by what a wait found its request ended
 */
export function createWaits(
  queue: Pick<LeaseQueue, 'outcome' | 'subscribe'>,
  clock: Clock,
  wokenFor: (by: WokenBy) => void = () => {},
): Waits {
  return new BellWaits(queue, clock, wokenFor);
}

class BellWaits implements Waits {
  readonly #queue: Pick<LeaseQueue, 'outcome'>;
  readonly #clock: Clock;
  readonly #wokenFor: (by: WokenBy) => void;
  readonly #bells = new Bells();
  readonly #commits = new Commits(this.#bells);
  readonly #unsubscribe: () => void;
  #stopped = false;

  constructor(queue: Pick<LeaseQueue, 'outcome' | 'subscribe'>, clock: Clock, wokenFor: (by: WokenBy) => void) {
    this.#queue = queue;
    this.#clock = clock;
    this.#wokenFor = wokenFor;
    this.#unsubscribe = queue.subscribe((event) => {
      if (event.type === 'done' && !this.#commits.keeps(event.id)) this.#bells.ring(event.id);
    });
  }

  async untilFinal(app: string, id: string, waitMs: number, gone: Gone): Promise<ToldOutcome | undefined> {
    // Registered before the first look: an end between the look and the wait would otherwise ring for nobody.
    const watch = waitMs > 0 ? this.watch(app, id) : undefined;
    if (watch === undefined) return await this.#queue.outcome(app, id);
    const began = this.#clock.monotonic();
    try {
      const record = await this.#queue.outcome(app, id);
      const left = waitMs - (this.#clock.monotonic() - began);
      if (record === undefined || isFinal(record.state) || left <= 0 || this.#stopped) return record;
      return await watch.untilFinal(left, gone);
    } finally {
      watch.leave();
    }
  }

  watch(app: string, id: string): Watch | undefined {
    if (this.#stopped || this.#bells.count >= MAX_WAITING_CLIENTS) return undefined;
    const bell = createBell();
    this.#bells.hang(id, bell);
    return {
      id,
      untilFinal: (waitMs, gone) => this.#untilRung(bell, app, id, waitMs, gone),
      leave: () => this.#bells.takeDown(id, bell),
    };
  }

  committing(ids: readonly string[]): Commit {
    return this.#commits.begin(ids);
  }

  readonly count = (): number => this.#bells.count;

  stop(): void {
    this.#stopped = true;
    this.#unsubscribe();
    this.#bells.ringAll();
  }

  async #untilRung(bell: Bell, app: string, id: string, waitMs: number, gone: Gone): Promise<ToldOutcome | undefined> {
    const deadline = this.#clock.monotonic() + waitMs;
    let left = waitMs;
    let hasGone = false;
    const off = gone(() => {
      hasGone = true;
      bell.ring();
    });
    try {
      for (;;) {
        const woken = (await bell.wait(Math.min(left, RECHECK_MS))) ? 'event' : 'recheck';
        const told = bell.told();
        // Of another app only where a unit sends an id that is not its own.
        if (told?.app === app) {
          this.#wokenFor('commit');
          return told;
        }
        const record: RequestOutcome | undefined = await this.#queue.outcome(app, id);
        const ended = record === undefined || isFinal(record.state);
        if (ended) this.#wokenFor(woken);
        left = deadline - this.#clock.monotonic();
        if (ended || left <= 0 || hasGone || this.#stopped) return record;
      }
    } finally {
      off();
    }
  }
}

/** The commits of this replica that are under way, by request. An id that is in two of them belongs to the later one. */
class Commits {
  readonly #bells: Bells;
  readonly #underWay = new Map<string, { heard: boolean }>();

  constructor(bells: Bells) {
    this.#bells = bells;
  }

  begin(ids: readonly string[]): Commit {
    const entries = ids.map((id) => {
      const entry = { heard: false };
      this.#underWay.set(id, entry);
      return { id, entry };
    });
    return {
      over: (toldOf) =>
        entries.forEach(({ id, entry }, i) => {
          if (this.#underWay.get(id) === entry) this.#underWay.delete(id);
          const told = this.#bells.has(id) ? toldOf?.(i) : undefined;
          if (told !== undefined || entry.heard) this.#bells.ring(id, told);
        }),
    };
  }

  /** Whether the event of this request is kept back until its commit is over. */
  keeps(id: string): boolean {
    const entry = this.#underWay.get(id);
    if (entry !== undefined) entry.heard = true;
    return entry !== undefined;
  }
}
