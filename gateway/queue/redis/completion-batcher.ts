// SPDX-License-Identifier: Apache-2.0
import type { CommitOutcome } from '../lease-queue.ts';
import { MAX_BATCH } from '../limits.ts';
import { COMPLETION_ARGS } from './lua/scripts.ts';
import { listOf, textOf } from './replies.ts';
import type { Argument } from './runner.ts';

interface Waiting {
  readonly args: readonly Argument[];
  readonly resolve: (outcomes: readonly CommitOutcome[]) => void;
  readonly reject: (error: unknown) => void;
}

type Run = (app: string, now: number | undefined, args: readonly Argument[]) => Promise<unknown>;

const MAX_ARGS = MAX_BATCH * COMPLETION_ARGS;

/**
 * One script run for all completions of an app that arrive in one turn of the event loop, whichever units they come from: they share
 * the run's fixed cost and its write to disk. A lone completion goes out in the same turn.
 */
export class CompletionBatcher {
  readonly #run: Run;
  readonly #waiting = new Map<string, Waiting[]>();

  constructor(run: Run) {
    this.#run = run;
  }

  /** `args`: COMPLETION_ARGS for each completion. A time that is set is a test's, and its own run. */
  add(app: string, args: readonly Argument[], now: number | undefined): Promise<readonly CommitOutcome[]> {
    const { promise, resolve, reject } = Promise.withResolvers<readonly CommitOutcome[]>();
    const one = { args, resolve, reject };
    if (now !== undefined) void this.#send(app, [one], now);
    else this.#enter(app, one);
    return promise;
  }

  #enter(app: string, one: Waiting): void {
    const company = this.#waiting.get(app);
    if (company !== undefined) {
      company.push(one);
      return;
    }
    this.#waiting.set(app, [one]);
    setImmediate(() => {
      const all = this.#waiting.get(app) ?? [];
      this.#waiting.delete(app);
      for (const batch of batches(all)) void this.#send(app, batch);
    });
  }

  async #send(app: string, batch: readonly Waiting[], now?: number): Promise<void> {
    try {
      const args = batch.flatMap((one) => one.args);
      const outcomes = listOf(await this.#run(app, now, args)).map((word) => textOf(word) as CommitOutcome);
      let at = 0;
      for (const one of batch) one.resolve(outcomes.slice(at, (at += one.args.length / COMPLETION_ARGS)));
    } catch (error) {
      for (const one of batch) one.reject(error);
    }
  }
}

/** No run takes more than one full call may bring. */
function batches(all: readonly Waiting[]): Waiting[][] {
  const made: Waiting[][] = [];
  let size = Number.POSITIVE_INFINITY;
  for (const one of all) {
    if (size + one.args.length > MAX_ARGS) {
      made.push([]);
      size = 0;
    }
    made.at(-1)?.push(one);
    size += one.args.length;
  }
  return made;
}
