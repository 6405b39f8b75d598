// SPDX-License-Identifier: Apache-2.0
import { COMPLETE_INLINE_MAX_BYTES, LEASE_BATCH_MAX } from '#base/wire/broker.ts';
import type { WireHeld } from '#base/wire/broker.ts';
import { BrokerError } from '../errors.ts';

/** What the gateway says of one entry of a call. */
export interface Answered<Outcome extends string> {
  readonly id: string;
  readonly outcome: Outcome;
}

interface Pending<Entry, Outcome> {
  readonly entry: Entry;
  readonly bytes: number;
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

  /** Rejects with what the call failed with. `bytes`: what it brings along inline. */
  add(entry: Entry, bytes = 0): Promise<Outcome | 'lost'> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ entry, bytes, resolve, reject });
      if (this.#pending.length === 1) setImmediate(() => this.#flush());
    });
  }

  #flush(): void {
    const batch = this.#pending;
    this.#pending = [];
    for (const chunk of calls(batch)) void this.#deliver(chunk);
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

/** As few calls as the wire allows: so many entries, so many bytes inline. */
function calls<P extends { readonly bytes: number }>(batch: readonly P[]): readonly (readonly P[])[] {
  const chunks: P[][] = [];
  let current: P[] = [];
  let bytes = 0;
  for (const one of batch) {
    if (current.length === LEASE_BATCH_MAX || (current.length > 0 && bytes + one.bytes > COMPLETE_INLINE_MAX_BYTES)) {
      chunks.push(current);
      current = [];
      bytes = 0;
    }
    current.push(one);
    bytes += one.bytes;
  }
  return [...chunks, current];
}
