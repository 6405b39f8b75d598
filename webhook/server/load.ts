// SPDX-License-Identifier: Apache-2.0
import * as limits from './limits.ts';

/** What has a place in a {@link Load}. */
export interface UnderWay {
  /** The connection it came by: whoever has most is who has to give when there is no room. */
  readonly connection: object;
  /** Monotonic milliseconds. */
  readonly deadlineAt: number;
  /** Its time is up. It leaves. */
  expire(): void;
  /** Its place is needed by one of a connection that has less. It leaves. */
  yieldPlace(): void;
}

export interface LoadBounds {
  readonly reviews: number;
  readonly bytes: number;
}

/** What is under way, by what it waits for: its own bounds for each, so that none takes the place of another. */
export interface Loads {
  /** For the body. */
  readonly reading: Load;
  /** For a verdict. */
  readonly waiting: Load;
  /** For the client to take its answer. */
  readonly answered: Load;
}

interface Share {
  /** Oldest first, with the bytes of each. */
  readonly reviews: Map<UnderWay, number>;
  bytes: number;
}

/**
 * What is under way on all connections together, and its bounds. One connection may have all of it, as an API server that is alone does;
 * when there is no room, the one with most gives up its oldest for one that has less: whoever fills it shuts out nobody but himself.
 */
export class Load {
  readonly #shares = new Map<object, Share>();
  readonly #bounds: LoadBounds;
  #reviews = 0;
  #bytes = 0;

  constructor(bounds: LoadBounds) {
    this.#bounds = bounds;
  }

  get reviews(): number {
    return this.#reviews;
  }

  /** False: there is no room for it. */
  enter(review: UnderWay): boolean {
    const { connection } = review;
    const own = this.#shares.get(connection)?.reviews.size ?? 0;
    const isFull = this.#reviews >= this.#bounds.reviews;
    if (isFull && !this.#makeRoom((share) => share.reviews.size, own + 1)) return false;
    const share = this.#shares.get(connection) ?? { reviews: new Map<UnderWay, number>(), bytes: 0 };
    this.#shares.set(connection, share);
    share.reviews.set(review, 0);
    this.#reviews += 1;
    return true;
  }

  /** For one that has entered. False: that much more would be too much to hold. */
  hold(review: UnderWay, bytes: number): boolean {
    const share = this.#shares.get(review.connection);
    const held = share?.reviews.get(review);
    if (share === undefined || held === undefined) return false;
    while (this.#bytes + bytes > this.#bounds.bytes) {
      if (!this.#makeRoom((other) => other.bytes, share.bytes + bytes)) return false;
    }
    share.reviews.set(review, held + bytes);
    share.bytes += bytes;
    this.#bytes += bytes;
    return true;
  }

  /** With all that it held; nothing when it has left before. */
  leave(review: UnderWay): void {
    const share = this.#shares.get(review.connection);
    const held = share?.reviews.get(review);
    if (share === undefined || held === undefined) return;
    share.reviews.delete(review);
    share.bytes -= held;
    this.#bytes -= held;
    this.#reviews -= 1;
    if (share.reviews.size === 0) this.#shares.delete(review.connection);
  }

  /** Ends what is past its time. */
  sweep(now: number): void {
    for (const { reviews } of this.#shares.values()) {
      for (const review of reviews.keys()) if (review.deadlineAt <= now) review.expire();
    }
  }

  /** Ends the oldest of the connection that has most, if that is more than `than`. False: nobody has. */
  #makeRoom(sizeOf: (share: Share) => number, than: number): boolean {
    let most: Share | undefined;
    for (const share of this.#shares.values()) if (sizeOf(share) > (most ? sizeOf(most) : than)) most = share;
    const [oldest] = most?.reviews.keys() ?? [];
    if (oldest === undefined) return false;
    oldest.yieldPlace();
    // Whatever it does, its place is free.
    this.leave(oldest);
    return true;
  }
}

export function createLoads(): Loads {
  return {
    reading: new Load({ reviews: limits.MAX_IN_FLIGHT, bytes: limits.MAX_BUFFERED_BYTES }),
    waiting: new Load({ reviews: limits.MAX_WAITING, bytes: limits.MAX_WAITING_BYTES }),
    answered: new Load({ reviews: limits.MAX_ANSWERED, bytes: limits.MAX_ANSWERED_BYTES }),
  };
}
