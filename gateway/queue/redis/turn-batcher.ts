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
  /** Weight at which a run is full. A call that weighs more is a run of its own. */
  readonly maxWeight: number;
  /** Answers one outcome for each item, in order. */
  run(app: string, now: number | undefined, args: readonly Argument[]): Promise<readonly T[]>;
}

/**
 * One script run for the items of an app that arrive in one turn of the event loop, whichever calls they come from: they share the run's
 * fixed cost and its write to disk. A lone item goes out in the same turn. Of more than one full run the first goes at once and the
 * others in the next turn: callers whose answers came together call again together, and in one run for them all this process would
 * idle while Redis works, and Redis while this process does.
 */
export class TurnBatcher<T> {
  readonly #options: TurnBatcherOptions<T>;
  readonly #waiting = new Map<string, Waiting<T>[]>();

  constructor(options: TurnBatcherOptions<T>) {
    this.#options = options;
  }

  /**
   * `args`: `perItem` for each item. A time that is set is a test's, and its own run.
   * @param weight default: the number of items
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
    setImmediate(() => this.#flush(app));
  }

  #flush(app: string): void {
    const [first = [], ...others] = this.#batches(this.#waiting.get(app) ?? []);
    if (others.length === 0) {
      this.#waiting.delete(app);
    } else {
      this.#waiting.set(app, others.flat());
      setImmediate(() => this.#flushRest(app));
    }
    void this.#send(app, first);
  }

  /** All of them, those that came meanwhile included: nothing waits for longer than a turn, however much comes. */
  #flushRest(app: string): void {
    const all = this.#waiting.get(app) ?? [];
    this.#waiting.delete(app);
    for (const batch of this.#batches(all)) void this.#send(app, batch);
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

  /** In order, each full or the last. */
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
