// SPDX-License-Identifier: Apache-2.0
import { FINAL_STATES } from '../queue/lease-queue.ts';
import type { LeaseQueue, RequestState } from '../queue/lease-queue.ts';
import type { RequestOutcome } from '../queue/request-outcome.ts';
import type { Clock } from '#base/clock.ts';
import { MAX_WAITING_CLIENTS, RECHECK_MS } from '../limits.ts';

export function isFinal(state: RequestState): boolean {
  return (FINAL_STATES as readonly string[]).includes(state);
}

/** Registers whom to ring when the client has gone, and answers how to take that back. */
export type Gone = (ring: () => void) => () => void;

/** Clients that hold their connection until a request ends. */
export interface Waits {
  /**
   * The outcome as soon as it is final, else as it is after `waitMs`, when the client has gone, or when the gateway stops.
   * Undefined when there is none.
   */
  untilFinal(app: string, id: string, waitMs: number, gone: Gone): Promise<RequestOutcome | undefined>;
  /**
   * For a request that is about to be queued: from now on its end is heard of, so that whoever knows it to be queued since need not look
   * before waiting. Undefined when nobody may wait. The caller leaves in any case.
   */
  watch(app: string, id: string): Watch | undefined;
  readonly count: () => number;
  /** Answers everyone who waits; later calls do not wait. */
  stop(): void;
}

export interface Watch {
  readonly id: string;
  /** As `Waits.untilFinal`, without a first look. */
  untilFinal(waitMs: number, gone: Gone): Promise<RequestOutcome | undefined>;
  leave(): void;
}

/**
 * Woken by the queue's `done` events, whichever replica caused them; looks again every 5 s in case one was lost.
 * @param wokenFor hears by what a wait found its request ended
 */
export function createWaits(
  queue: Pick<LeaseQueue, 'outcome' | 'subscribe'>,
  clock: Clock,
  wokenFor: (by: 'event' | 'recheck') => void = () => {},
): Waits {
  return new BellWaits(queue, clock, wokenFor);
}

class BellWaits implements Waits {
  readonly #queue: Pick<LeaseQueue, 'outcome'>;
  readonly #clock: Clock;
  readonly #wokenFor: (by: 'event' | 'recheck') => void;
  readonly #bells = new Bells();
  readonly #unsubscribe: () => void;
  #stopped = false;

  constructor(
    queue: Pick<LeaseQueue, 'outcome' | 'subscribe'>,
    clock: Clock,
    wokenFor: (by: 'event' | 'recheck') => void,
  ) {
    this.#queue = queue;
    this.#clock = clock;
    this.#wokenFor = wokenFor;
    this.#unsubscribe = queue.subscribe((event) => {
      if (event.type === 'done') this.#bells.ring(event.id);
    });
  }

  async untilFinal(app: string, id: string, waitMs: number, gone: Gone): Promise<RequestOutcome | undefined> {
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

  readonly count = (): number => this.#bells.count;

  stop(): void {
    this.#stopped = true;
    this.#unsubscribe();
    this.#bells.ringAll();
  }

  async #untilRung(
    bell: Bell,
    app: string,
    id: string,
    waitMs: number,
    gone: Gone,
  ): Promise<RequestOutcome | undefined> {
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
        const record = await this.#queue.outcome(app, id);
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

/** The bells of those who wait for a request, by its id. */
class Bells {
  readonly #byId = new Map<string, Set<Bell>>();
  count = 0;

  hang(id: string, bell: Bell): void {
    const its = this.#byId.get(id);
    if (its === undefined) this.#byId.set(id, new Set([bell]));
    else its.add(bell);
    this.count += 1;
  }

  takeDown(id: string, bell: Bell): void {
    const its = this.#byId.get(id);
    if (its?.delete(bell) !== true) return;
    this.count -= 1;
    if (its.size === 0) this.#byId.delete(id);
  }

  ring(id: string): void {
    for (const bell of this.#byId.get(id) ?? []) bell.ring();
  }

  ringAll(): void {
    for (const id of this.#byId.keys()) this.ring(id);
  }
}

interface Bell {
  readonly ring: () => void;
  /** Resolves at the next ring, at once when it rang since the last wait, or after `ms`; true when it rang. */
  wait(ms: number): Promise<boolean>;
}

function createBell(): Bell {
  let rang = false;
  let wake: (() => void) | undefined;
  return {
    ring: () => {
      rang = true;
      wake?.();
    },
    wait: async (ms) => {
      if (!rang) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, ms);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
        wake = undefined;
      }
      const heard = rang;
      rang = false;
      return heard;
    },
  };
}
