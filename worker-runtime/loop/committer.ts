// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '#base/logger.ts';
import { LEASE_BATCH_MAX, WIRE_INLINE_LIMIT_BYTES } from '#base/wire/broker.ts';
import type { CompleteCall, CompleteReply, FailCall, FailReply, WireCause, WireHeld } from '#base/wire/broker.ts';
import type { Broker } from '../broker/broker-client.ts';
import type { Payloads } from '../broker/payloads.ts';
import { BrokerError, TokenRefused, clip, describe } from '../errors.ts';
import type { Outcome } from '../executor.ts';
import { inChunks } from './held.ts';
import { TurnBatch } from './turn-batch.ts';

/** What became of an outcome; 'undelivered' = the lease will run out. */
export type Delivery = 'committed' | 'failed' | 'requeued' | 'released' | 'cancelled' | 'lost' | 'undelivered';

export interface CommitterDeps {
  readonly broker: Broker;
  readonly payloads: Payloads;
  readonly logger: Logger;
  /** Ends repeats when the unit has no time left. */
  readonly signal: AbortSignal;
  readonly onRefused: (err: TokenRefused) => void;
}

/** What the gateway takes as a content type: it becomes a response header. */
const MEDIA_TYPE = /^[A-Za-z0-9!#$&^_.+-]+\/[A-Za-z0-9!#$&^_.+-]+[ -~]*$/;
const MEDIA_TYPE_MAX = 255;

/** Hosts run user code in other processes: that a type is a string at all is their promise only. */
function isMediaType(type: unknown): type is string {
  return typeof type === 'string' && type.length <= MEDIA_TYPE_MAX && MEDIA_TYPE.test(type);
}

type Completion = CompleteCall['results'][number];
type Completions = TurnBatch<Completion, CompleteReply['results'][number]['outcome']>;
type FailedCall = FailCall['failures'][number];

/** Hands outcomes to the gateway. Those that are ready in the same turn of the event loop (a batch) travel in one call. */
export class Committer {
  readonly #deps: CommitterDeps;
  readonly #small: Completions;
  /** Apart: while the object store is away, the results that do not need it arrive all the same. */
  readonly #large: Completions;
  readonly #failures: TurnBatch<FailedCall, FailReply['failures'][number]['outcome']>;

  constructor(deps: CommitterDeps) {
    const { broker, signal } = deps;
    this.#deps = deps;
    const completions = (): Completions =>
      new TurnBatch(async (results) => (await broker.complete({ results }, signal)).results);
    this.#small = completions();
    this.#large = completions();
    this.#failures = new TurnBatch(async (failures) => (await broker.fail({ failures }, signal)).failures);
  }

  /** Resolves when the request is off this unit's hands. Never rejects. */
  async commit(held: WireHeld, outcome: Outcome): Promise<Delivery> {
    try {
      if (outcome.kind === 'returned') return await this.release([held]);
      if (outcome.kind === 'failed') return await this.#fail(held, outcome.failure);
      return await this.#complete(held, outcome);
    } catch (err) {
      if (!(err instanceof BrokerError) || outcome.kind !== 'succeeded') return this.#undelivered(err, held);
      // The store or the gateway will not have this result, now or later.
      const message = `the result was refused: ${clip(err.message)}`;
      return this.#fail(held, { kind: 'handler', message }).catch((last: unknown) => this.#undelivered(last, held));
    }
  }

  /** Gives leases back, no budget charged. */
  async release(leases: readonly WireHeld[]): Promise<Delivery> {
    try {
      for (const chunk of inChunks(leases, LEASE_BATCH_MAX))
        await this.#deps.broker.release({ leases: chunk }, this.#deps.signal);
      return 'released';
    } catch (err) {
      return this.#undelivered(err, leases[0]);
    }
  }

  #fail(held: WireHeld, cause: WireCause): Promise<Delivery> {
    return this.#failures.add({ ...held, cause });
  }

  async #complete(held: WireHeld, outcome: Extract<Outcome, { kind: 'succeeded' }>): Promise<Delivery> {
    const { payloads, signal } = this.#deps;
    if (!isMediaType(outcome.contentType))
      return this.#fail(held, {
        kind: 'handler',
        message: `the result's content type is none: ${clip(String(outcome.contentType))}`,
      });
    const result = await payloads.store(held, outcome, signal);
    const batch = result.bytes > WIRE_INLINE_LIMIT_BYTES ? this.#large : this.#small;
    const inlineBytes = result.inline === undefined ? 0 : result.bytes;
    return await batch.add({ ...held, result, service_micros: outcome.serviceMicros }, inlineBytes);
  }

  #undelivered(err: unknown, held: WireHeld | undefined): Delivery {
    if (err instanceof TokenRefused) this.#deps.onRefused(err);
    this.#deps.logger.warn({ id: held?.id, err: describe(err) }, 'an outcome could not be delivered');
    return 'undelivered';
  }
}
