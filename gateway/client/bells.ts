// SPDX-License-Identifier: Apache-2.0
import type { ToldOutcome } from '../queue/request-outcome.ts';

/** Of one who waits for one request. */
export interface Bell {
  /** @param told how the request ended, where whoever rings knows */
  readonly ring: (told?: ToldOutcome) => void;
  readonly told: () => ToldOutcome | undefined;
  /** Resolves at the next ring, at once when it rang since the last wait, or after `ms`; true when it rang. */
  wait(ms: number): Promise<boolean>;
}

export function createBell(): Bell {
  let rang = false;
  let heard: ToldOutcome | undefined;
  let wake: (() => void) | undefined;
  return {
    ring: (told) => {
      rang = true;
      heard ??= told;
      wake?.();
    },
    told: () => heard,
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
      const was = rang;
      rang = false;
      return was;
    },
  };
}

/** The bells of those who wait for a request, by its id. */
export class Bells {
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

  has(id: string): boolean {
    return this.#byId.has(id);
  }

  ring(id: string, told?: ToldOutcome): void {
    for (const bell of this.#byId.get(id) ?? []) bell.ring(told);
  }

  ringAll(): void {
    for (const id of this.#byId.keys()) this.ring(id);
  }
}
