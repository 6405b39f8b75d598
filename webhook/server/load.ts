// SPDX-License-Identifier: Apache-2.0
import * as limits from './limits.ts';

interface Origin {
  readonly address: string;
}

/** What has a place in a {@link Load}. */
export interface UnderWay {
  /** The connection it came by, and from where: whoever has most is who has to give when there is no room. */
  readonly connection: Origin;
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
 * when there is no room, the address with most, and of its connections the one with most, gives up its oldest for one that has less: whoever
 * fills it, by however many connections, shuts out nobody but himself.
 *
 * Reviews are linked and not kept in a Map, of which each of its tables that the collector has once moved among the old ones keeps all that
 * come after it from being collected young, with what was in them: each answered call was copied twice, and thousands waited for a whole
 * collection.
 */
export class Load {
  readonly #shares = new Map<Origin, Share>();
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
    const isFull = this.#reviews >= this.#bounds.reviews;
    if (isFull && !this.#makeRoom(review, (share) => share.reviews, 1)) return false;
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
      if (!this.#makeRoom(review, (other) => other.bytes, bytes)) return false;
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

  #shareOf(connection: Origin): Share {
    let share = this.#shares.get(connection);
    if (share === undefined) {
      share = { load: this, oldest: undefined, newest: undefined, reviews: 0, bytes: 0 };
      this.#shares.set(connection, share);
    }
    return share;
  }

  /** For `more` of `review`: ends the oldest of the connection that has most, where that is more than it would have. False: nobody has. */
  #makeRoom({ connection }: UnderWay, sizeOf: (share: Share) => number, more: number): boolean {
    const address = this.#fullest(connection.address, sizeOf, more);
    const own = this.#shares.get(connection);
    let than = address === connection.address ? (own === undefined ? 0 : sizeOf(own)) + more : 0;
    let most: Share | undefined;
    for (const [origin, share] of this.#shares) {
      const size = sizeOf(share);
      if (origin.address !== address || size <= than) continue;
      than = size;
      most = share;
    }
    const oldest = most?.oldest?.review;
    if (oldest === undefined) return false;
    oldest.yieldPlace();
    // Whatever it does, its place is free.
    this.leave(oldest);
    return true;
  }

  /** The address that has most, once `own` has `more`: that itself where no other has more. */
  #fullest(own: string, sizeOf: (share: Share) => number, more: number): string {
    const sizes = new Map([[own, more]]);
    for (const [{ address }, share] of this.#shares) sizes.set(address, (sizes.get(address) ?? 0) + sizeOf(share));
    let fullest = own;
    for (const [address, size] of sizes) if (size > (sizes.get(fullest) ?? 0)) fullest = address;
    return fullest;
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
