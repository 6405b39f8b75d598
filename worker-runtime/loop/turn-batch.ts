// SPDX-License-Identifier: Apache-2.0
import { LEASE_BATCH_MAX } from '#base/wire/broker.ts';
import type { WireHeld } from '#base/wire/broker.ts';
import { BrokerError } from '../errors.ts';
import { inChunks } from './held.ts';

/** What the gateway says of one entry of a call. */
export interface Answered<Outcome extends string> {
  readonly id: string;
  readonly outcome: Outcome;
}

interface Pending<Entry, Outcome> {
  readonly entry: Entry;
  readonly resolve: (outcome: Outcome | 'lost') => void;
  readonly reject: (err: unknown) => void;
}

/** What is ready in the same turn of the event loop (a batch of the handler's) travels in one call. */
export class TurnBatch<Entry extends WireHeld, Outcome extends string> {
  readonly #send: (entries: readonly Entry[]) => Promise<readonly Answered<Outcome>[]>;
  #pending: Pending<Entry, Outcome>[] = [];

  constructor(send: (entries: readonly Entry[]) => Promise<readonly Answered<Outcome>[]>) {
    this.#send = send;
  }

  /** Rejects with what the call failed with. */
  add(entry: Entry): Promise<Outcome | 'lost'> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ entry, resolve, reject });
      if (this.#pending.length === 1) setImmediate(() => this.#flush());
    });
  }

  #flush(): void {
    const batch = this.#pending;
    this.#pending = [];
    for (const chunk of inChunks(batch, LEASE_BATCH_MAX)) void this.#deliver(chunk);
  }

  async #deliver(chunk: readonly Pending<Entry, Outcome>[]): Promise<void> {
    try {
      const answers = await this.#send(chunk.map(({ entry }) => entry));
      const outcomes = new Map(answers.map(({ id, outcome }) => [id, outcome]));
      for (const { entry, resolve } of chunk) resolve(outcomes.get(entry.id) ?? 'lost');
    } catch (err) {
      // One entry that the gateway refuses must not take the others of its call along.
      if (err instanceof BrokerError && chunk.length > 1) for (const one of chunk) await this.#deliver([one]);
      else for (const { reject } of chunk) reject(err);
    }
  }
}
