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
  /** Where it has entered; for the {@link Load} only. It has a place in one at a time. */
  place?: Place | undefined;
}

/** What one review has of a load, between its elders and those that came later by the same connection. */
interface Place {
  readonly review: UnderWay;
  readonly share: Share;
  bytes: number;
  older: Place | undefined;
  newer: Place | undefined;
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

/** What one connection has of a load. */
interface Share {
  readonly load: Load;
  oldest: Place | undefined;
  newest: Place | undefined;
  reviews: number;
  bytes: number;
}

/**
 * What is under way on all connections together, and its bounds. One connection may have all of it, as an API server that is alone does;
 * when there is no room, the one with most gives up its oldest for one that has less: whoever fills it shuts out nobody but himself.
 *
 * Reviews are linked and not kept in a Map, of which each of its tables that the collector has once moved among the old ones keeps all that
 * come after it from being collected young, with what was in them: each answered call was copied twice, and thousands waited for a whole
 * collection.
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
    const own = this.#shares.get(review.connection)?.reviews ?? 0;
    const isFull = this.#reviews >= this.#bounds.reviews;
    if (isFull && !this.#makeRoom((share) => share.reviews, own + 1)) return false;
    const share = this.#shareOf(review.connection);
    const place: Place = { review, share, bytes: 0, older: share.newest, newer: undefined };
    if (share.newest === undefined) share.oldest = place;
    else share.newest.newer = place;
    share.newest = place;
    share.reviews += 1;
    this.#reviews += 1;
    review.place = place;
    return true;
  }

  /** For one that has entered. False: that much more would be too much to hold. */
  hold(review: UnderWay, bytes: number): boolean {
    const place = this.#placeOf(review);
    if (place === undefined) return false;
    const { share } = place;
    while (this.#bytes + bytes > this.#bounds.bytes) {
      if (!this.#makeRoom((other) => other.bytes, share.bytes + bytes)) return false;
    }
    place.bytes += bytes;
    share.bytes += bytes;
    this.#bytes += bytes;
    return true;
  }

  /** With all that it held; nothing when it has left before. */
  leave(review: UnderWay): void {
    const place = this.#placeOf(review);
    if (place === undefined) return;
    review.place = undefined;
    unlink(place);
    const { share, bytes } = place;
    share.bytes -= bytes;
    share.reviews -= 1;
    this.#bytes -= bytes;
    this.#reviews -= 1;
  }

  /** Ends what is past its time, and forgets connections that have nothing here. */
  sweep(now: number): void {
    for (const [connection, share] of this.#shares) {
      if (share.reviews === 0) this.#shares.delete(connection);
      let next = share.oldest;
      while (next !== undefined) {
        const { review, newer } = next;
        if (review.deadlineAt <= now) review.expire();
        next = newer;
      }
    }
  }

  #placeOf({ place }: UnderWay): Place | undefined {
    return place?.share.load === this ? place : undefined;
  }

  #shareOf(connection: object): Share {
    let share = this.#shares.get(connection);
    if (share === undefined) {
      share = { load: this, oldest: undefined, newest: undefined, reviews: 0, bytes: 0 };
      this.#shares.set(connection, share);
    }
    return share;
  }

  /** Ends the oldest of the connection that has most, if that is more than `than`. False: nobody has. */
  #makeRoom(sizeOf: (share: Share) => number, than: number): boolean {
    let most: Share | undefined;
    for (const share of this.#shares.values()) if (sizeOf(share) > (most ? sizeOf(most) : than)) most = share;
    const oldest = most?.oldest?.review;
    if (oldest === undefined) return false;
    oldest.yieldPlace();
    // Whatever it does, its place is free.
    this.leave(oldest);
    return true;
  }
}

/** It keeps no link itself: what is dead must not hold what is alive. */
function unlink(place: Place): void {
  const { share, older, newer } = place;
  if (older === undefined) share.oldest = newer;
  else older.newer = newer;
  if (newer === undefined) share.newest = older;
  else newer.older = older;
  place.older = undefined;
  place.newer = undefined;
}

export function createLoads(): Loads {
  return {
    reading: new Load({ reviews: limits.MAX_IN_FLIGHT, bytes: limits.MAX_BUFFERED_BYTES }),
    waiting: new Load({ reviews: limits.MAX_WAITING, bytes: limits.MAX_WAITING_BYTES }),
    answered: new Load({ reviews: limits.MAX_ANSWERED, bytes: limits.MAX_ANSWERED_BYTES }),
  };
}
