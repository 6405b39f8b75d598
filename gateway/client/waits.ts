// SPDX-License-Identifier: Apache-2.0
import { FINAL_STATES } from '../queue/lease-queue.ts';
import type { LeaseQueue, RequestRecord, RequestState } from '../queue/lease-queue.ts';
import type { Clock } from '#base/clock.ts';
import { MAX_WAITING_CLIENTS, RECHECK_MS } from '../limits.ts';

export function isFinal(state: RequestState): boolean {
  return (FINAL_STATES as readonly string[]).includes(state);
}

/** Clients that hold their connection until a request ends. */
export interface Waits {
  /**
   * The record as soon as it is final, else as it is after `waitMs`, when `gone` fires, or when the gateway stops.
   * Undefined when there is none.
   */
  untilFinal(app: string, id: string, waitMs: number, gone: AbortSignal): Promise<RequestRecord | undefined>;
  readonly count: () => number;
  /** Answers everyone who waits; later calls do not wait. */
  stop(): void;
}

/**
 * Woken by the queue's `done` events, whichever replica caused them; looks again every 5 s in case one was lost.
 * @param wokenFor hears by what a wait found its request ended
 */
export function createWaits(
  queue: Pick<LeaseQueue, 'get' | 'subscribe'>,
  clock: Clock,
  wokenFor: (by: 'event' | 'recheck') => void = () => {},
): Waits {
  const waiting = new Map<string, Set<() => void>>();
  let count = 0;
  let stopped = false;
  const unsubscribe = queue.subscribe((event) => {
    if (event.type === 'done') for (const wake of waiting.get(event.id) ?? []) wake();
  });

  const add = (id: string, wake: () => void): void => {
    const set = waiting.get(id);
    if (set === undefined) waiting.set(id, new Set([wake]));
    else set.add(wake);
    count += 1;
  };
  const remove = (id: string, wake: () => void): void => {
    const set = waiting.get(id);
    if (set?.delete(wake) !== true) return;
    count -= 1;
    if (set.size === 0) waiting.delete(id);
  };

  const untilFinal: Waits['untilFinal'] = async (app, id, waitMs, gone) => {
    const deadline = clock.monotonic() + waitMs;
    const bell = createBell();
    // Registered before the first look: an end between the look and the wait would otherwise ring for nobody.
    add(id, bell.ring);
    gone.addEventListener('abort', bell.ring, { once: true });
    let woken: 'event' | 'recheck' | undefined;
    try {
      for (;;) {
        const record = await queue.get(app, id);
        const ended = record === undefined || isFinal(record.state);
        if (ended && woken !== undefined) wokenFor(woken);
        const left = deadline - clock.monotonic();
        if (ended || left <= 0 || gone.aborted || stopped) return record;
        woken = (await bell.wait(Math.min(left, RECHECK_MS))) ? 'event' : 'recheck';
      }
    } finally {
      gone.removeEventListener('abort', bell.ring);
      remove(id, bell.ring);
    }
  };

  return {
    untilFinal: async (app, id, waitMs, gone) =>
      waitMs <= 0 || stopped || count >= MAX_WAITING_CLIENTS
        ? await queue.get(app, id)
        : await untilFinal(app, id, waitMs, gone),
    count: () => count,
    stop: () => {
      stopped = true;
      unsubscribe();
      for (const set of waiting.values()) for (const wake of set) wake();
    },
  };
}

interface Bell {
  readonly ring: () => void;
  /** Resolves at the next ring, at once when it rang since the last wait, or after `ms`; true when it rang. */
  wait(ms: number): Promise<boolean>;
}

export function createBell(): Bell {
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
