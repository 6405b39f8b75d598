// SPDX-License-Identifier: Apache-2.0
/**
 * Lets requests run side by side, and some alone: who enters alone waits for all before it, and all after it wait for it. First come,
 * first served, so neither kind starves.
 */
export class Company {
  readonly #waiting: { readonly alone: boolean; readonly enter: () => void }[] = [];
  #inside = 0;
  #alone = false;

  /** How many are inside. */
  get size(): number {
    return this.#inside;
  }

  async enter(alone: boolean): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ alone, enter: resolve });
    this.#admit();
    return promise;
  }

  leave(): void {
    this.#inside--;
    this.#alone = false;
    this.#admit();
  }

  #admit(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (this.#alone || (next.alone && this.#inside > 0)) return;
      this.#waiting.shift();
      this.#inside++;
      this.#alone = next.alone;
      next.enter();
    }
  }
}
