// SPDX-License-Identifier: Apache-2.0
import { MAX_BUFFERED_BYTES, MAX_IN_FLIGHT } from './limits.ts';

/** A review under way, as the sweep sees it. */
export interface UnderWay {
  /** Monotonic milliseconds. */
  readonly deadlineAt: number;
  expire(): void;
}

export interface LoadBounds {
  readonly reviews: number;
  readonly bytes: number;
}

/** What is under way on all connections together, and its bounds. */
export class Load {
  readonly #open = new Set<UnderWay>();
  readonly #bounds: LoadBounds;
  #bytes = 0;

  constructor(bounds: LoadBounds = { reviews: MAX_IN_FLIGHT, bytes: MAX_BUFFERED_BYTES }) {
    this.#bounds = bounds;
  }

  get reviews(): number {
    return this.#open.size;
  }

  /** False: there are too many already. */
  enter(review: UnderWay): boolean {
    if (this.#open.size >= this.#bounds.reviews) return false;
    this.#open.add(review);
    return true;
  }

  /** False: that much more would be too much to hold. */
  hold(bytes: number): boolean {
    if (this.#bytes + bytes > this.#bounds.bytes) return false;
    this.#bytes += bytes;
    return true;
  }

  /** @param bytes all that it held */
  leave(review: UnderWay, bytes: number): void {
    this.#open.delete(review);
    this.#bytes -= bytes;
  }

  /** Ends what is past its time. */
  sweep(now: number): void {
    for (const review of this.#open) if (review.deadlineAt <= now) review.expire();
  }
}
