// SPDX-License-Identifier: Apache-2.0
/** Binary heap whose items can be moved and removed by key: O(log n) each, as a Redis sorted set without ranks. */
export class IndexedHeap<T> {
  readonly #before: (a: T, b: T) => boolean;
  readonly #keyOf: (item: T) => string;
  readonly #items: T[] = [];
  readonly #places = new Map<string, number>();

  /** @param before total order; @param keyOf unique key of an item. */
  constructor(before: (a: T, b: T) => boolean, keyOf: (item: T) => string) {
    this.#before = before;
    this.#keyOf = keyOf;
  }

  get size(): number {
    return this.#items.length;
  }

  peek(): T | undefined {
    return this.#items[0];
  }

  get(key: string): T | undefined {
    const place = this.#places.get(key);
    return place === undefined ? undefined : this.#items[place];
  }

  /** Adds the item, or puts the one of the same key to its new place. */
  put(item: T): void {
    const key = this.#keyOf(item);
    const place = this.#places.get(key) ?? this.#items.length;
    this.#set(place, item);
    this.#down(this.#up(place));
  }

  delete(key: string): boolean {
    const place = this.#places.get(key);
    if (place === undefined) return false;
    this.#places.delete(key);
    const last = this.#items.pop();
    if (last !== undefined && place < this.#items.length) {
      this.#set(place, last);
      this.#down(this.#up(place));
    }
    return true;
  }

  /** The first `limit` items in order: O(limit log n), without removing them. */
  first(limit: number): T[] {
    const taken: T[] = [];
    while (taken.length < limit) {
      const item = this.#items[0];
      if (item === undefined) break;
      taken.push(item);
      this.delete(this.#keyOf(item));
    }
    for (const item of taken) this.put(item);
    return taken;
  }

  #set(place: number, item: T): void {
    this.#items[place] = item;
    this.#places.set(this.#keyOf(item), place);
  }

  #up(from: number): number {
    let place = from;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      if (!this.#swapIfBefore(place, parent)) break;
      place = parent;
    }
    return place;
  }

  #down(from: number): void {
    let place = from;
    for (;;) {
      const left = 2 * place + 1;
      const right = left + 1;
      const child = this.#isBefore(right, left) ? right : left;
      if (!this.#swapIfBefore(child, place)) return;
      place = child;
    }
  }

  #isBefore(a: number, b: number): boolean {
    const [x, y] = [this.#items[a], this.#items[b]];
    return x !== undefined && y !== undefined && this.#before(x, y);
  }

  #swapIfBefore(a: number, b: number): boolean {
    const [x, y] = [this.#items[a], this.#items[b]];
    if (x === undefined || y === undefined || !this.#before(x, y)) return false;
    this.#set(a, y);
    this.#set(b, x);
    return true;
  }
}
