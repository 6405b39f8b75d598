// SPDX-License-Identifier: Apache-2.0
import type { Argument } from './runner.ts';

interface Waiting<T> {
  readonly args: readonly Argument[];
  readonly weight: number;
  readonly resolve: (outcomes: readonly T[]) => void;
  readonly reject: (error: unknown) => void;
}

/** Calls of one app, at one time where one is set. */
interface Company<T> {
  readonly app: string;
  readonly now: number | undefined;
  readonly calls: readonly Waiting<T>[];
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
  readonly #waiting = new Map<string, Company<T> & { readonly calls: Waiting<T>[] }>();

  constructor(options: TurnBatcherOptions<T>) {
    this.#options = options;
  }

  /**
   * `args`: `perItem` for each item. A time that is set is a test's: calls of the same one share their runs, as those of none do.
   * @param weight default: the number of items
   */
  add(
    app: string,
    args: readonly Argument[],
    now: number | undefined,
    weight = args.length / this.#options.perItem,
  ): Promise<readonly T[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly T[]>();
    this.#enter(app, now, { args, weight, resolve, reject });
    return promise;
  }

  #enter(app: string, now: number | undefined, one: Waiting<T>): void {
    const key = now === undefined ? app : `${now}/${app}`;
    const company = this.#waiting.get(key);
    if (company !== undefined) {
      company.calls.push(one);
      return;
    }
    this.#waiting.set(key, { app, now, calls: [one] });
    setImmediate(() => this.#flush(key));
  }

  #flush(key: string): void {
    const company = this.#waiting.get(key);
    if (company === undefined) return;
    const [first = [], ...others] = this.#batches(company.calls);
    if (others.length === 0) {
      this.#waiting.delete(key);
    } else {
      this.#waiting.set(key, { ...company, calls: others.flat() });
      setImmediate(() => this.#flushRest(key));
    }
    void this.#send({ ...company, calls: first });
  }

  /** All of them, those that came meanwhile included: nothing waits for longer than a turn, however much comes. */
  #flushRest(key: string): void {
    const company = this.#waiting.get(key);
    if (company === undefined) return;
    this.#waiting.delete(key);
    for (const calls of this.#batches(company.calls)) void this.#send({ ...company, calls });
  }

  async #send({ app, now, calls }: Company<T>): Promise<void> {
    try {
      const args = calls.flatMap((one) => one.args);
      const outcomes = await this.#options.run(app, now, args);
      let at = 0;
      for (const one of calls) one.resolve(outcomes.slice(at, (at += one.args.length / this.#options.perItem)));
    } catch (error) {
      for (const one of calls) one.reject(error);
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
