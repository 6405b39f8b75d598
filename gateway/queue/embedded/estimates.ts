// SPDX-License-Identifier: Apache-2.0
import { ASSUMED_COST_MICROS } from '../limits.ts';
import { classOf } from '../order.ts';

/** Stands for all size classes together. */
export const ANY_CLASS = -1;

/** A new time counts for an eighth: settles within some ten requests, and one outlier hardly moves it. */
const LEARNING = 8;

/** Learned service times of one app, by revision and size class of the body, in µs. */
export class Estimates {
  readonly #byRevision = new Map<string, Map<number, number>>();

  restore(revision: string, size: number, micros: number): void {
    this.#of(revision).set(size, micros);
  }

  /** What a request of this size will take, as far as anyone knows. */
  expected(revision: string, bytes: number): number {
    const known = this.#byRevision.get(revision);
    return known?.get(classOf(bytes)) ?? known?.get(ANY_CLASS) ?? ASSUMED_COST_MICROS;
  }

  /** Answers what has changed: size class and new estimate. */
  teach(revision: string, bytes: number, micros: number): readonly (readonly [number, number])[] {
    const known = this.#of(revision);
    return [classOf(bytes), ANY_CLASS].map((size) => {
      const before = known.get(size);
      const after = before === undefined ? micros : before + Math.floor((micros - before) / LEARNING);
      known.set(size, after);
      return [size, after];
    });
  }

  revisions(): string[] {
    return [...this.#byRevision.keys()];
  }

  forget(revision: string): void {
    this.#byRevision.delete(revision);
  }

  #of(revision: string): Map<number, number> {
    const known = this.#byRevision.get(revision) ?? new Map<number, number>();
    this.#byRevision.set(revision, known);
    return known;
  }
}
