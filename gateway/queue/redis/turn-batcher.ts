// SPDX-License-Identifier: Apache-2.0
import type { Argument } from './runner.ts';

interface Waiting<T> {
  readonly args: readonly Argument[];
  readonly weight: number;
  readonly resolve: (outcomes: readonly T[]) => void;
  readonly reject: (error: unknown) => void;
}

export interface TurnBatcherOptions<T> {
  /** Arguments of one item. */
  readonly perItem: number;
  /** Weight that one run takes: what one full call may bring. */
  readonly maxWeight: number;
  /** Answers one outcome for each item, in order. */
  run(app: string, now: number | undefined, args: readonly Argument[]): Promise<readonly T[]>;
}

/**
 * One script run for all items of an app that arrive in one turn of the event loop, whichever calls they come from: they share the run's
 * fixed cost and its write to disk. A lone item goes out in the same turn.
 */
export class TurnBatcher<T> {
  readonly #options: TurnBatcherOptions<T>;
  readonly #waiting = new Map<string, Waiting<T>[]>();

  constructor(options: TurnBatcherOptions<T>) {
    this.#options = options;
  }

  /**
   * `args`: `perItem` for each item. A time that is set is a test's, and its own run.
   * @param weight at most `maxWeight`; default: the number of items
   */
  add(
    app: string,
    args: readonly Argument[],
    now: number | undefined,
    weight = args.length / this.#options.perItem,
  ): Promise<readonly T[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly T[]>();
    const one = { args, weight, resolve, reject };
    if (now !== undefined) void this.#send(app, [one], now);
    else this.#enter(app, one);
    return promise;
  }

  #enter(app: string, one: Waiting<T>): void {
    const company = this.#waiting.get(app);
    if (company !== undefined) {
      company.push(one);
      return;
    }
    this.#waiting.set(app, [one]);
    setImmediate(() => {
      const all = this.#waiting.get(app) ?? [];
      this.#waiting.delete(app);
      for (const batch of this.#batches(all)) void this.#send(app, batch);
    });
  }

  async #send(app: string, batch: readonly Waiting<T>[], now?: number): Promise<void> {
    try {
      const args = batch.flatMap((one) => one.args);
      const outcomes = await this.#options.run(app, now, args);
      let at = 0;
      for (const one of batch) one.resolve(outcomes.slice(at, (at += one.args.length / this.#options.perItem)));
    } catch (error) {
      for (const one of batch) one.reject(error);
    }
  }

  /** No run takes more than one full call may bring. */
  #batches(all: readonly Waiting<T>[]): Waiting<T>[][] {
    const made: Waiting<T>[][] = [];
    let size = Number.POSITIVE_INFINITY;
    for (const one of all) {
      if (size + one.weight > this.#options.maxWeight) {
        made.push([]);
        size = 0;
      }
      made.at(-1)?.push(one);
      size += one.weight;
    }
    return made;
  }
}
