// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import { LEASE_BATCH_MAX } from '#base/wire/broker.ts';
import type { Broker } from '../broker/broker-client.ts';
import { TokenRefused, describe } from '../errors.ts';
import { extended, heldOf, inChunks } from './held.ts';
import type { HeldItem } from './held.ts';
import { Wakeup } from './wakeup.ts';

export interface ExtenderDeps {
  readonly broker: Broker;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly held: ReadonlyMap<string, HeldItem>;
  /** The gateway says that the lease is no longer this unit's. */
  readonly onLost: (item: HeldItem) => void;
  readonly onCancelled: (item: HeldItem) => void;
  /** A lease that may have run out holds again. */
  readonly onRegained: () => void;
  readonly onRefused: (err: TokenRefused) => void;
}

/** An answer that takes longer than this would come too late for the next try. */
const CALL_MAX_MS = 15_000;
const CALL_MIN_MS = 1_000;
/** After a failed heartbeat the next try comes this much of the lease later. */
const RETRY_SHARE = 1 / 12;

/** Keeps every held lease alive, from the main thread, whatever the handlers do. */
export class Extender {
  readonly #deps: ExtenderDeps;
  readonly #wakeup: Wakeup;
  #stopped = false;

  constructor(deps: ExtenderDeps) {
    this.#deps = deps;
    this.#wakeup = new Wakeup(deps.clock);
  }

  /** A lease was added. */
  poke(): void {
    this.#wakeup.notify();
  }

  stop(): void {
    this.#stopped = true;
    this.#wakeup.notify();
  }

  async run(): Promise<void> {
    const { clock, held } = this.#deps;
    while (!this.#stopped) {
      const live = [...held.values()].filter((item) => !item.gone);
      const due = live.reduce((least, item) => Math.min(least, item.extendAt), Infinity);
      const wait = due - clock.monotonic();
      if (wait > 0) await this.#wakeup.wait(wait === Infinity ? undefined : wait);
      else await Promise.all(inChunks(live, LEASE_BATCH_MAX).map((chunk) => this.#extend(chunk)));
    }
  }

  async #extend(items: readonly HeldItem[]): Promise<void> {
    const { broker, clock, logger } = this.#deps;
    const leaseMs = Math.min(...items.map((item) => item.lease.lease_seconds)) * 1000;
    const tokens = new Map(items.map((item) => [item, item.lease.lease_token]));
    const at = clock.monotonic();
    try {
      const timeoutMs = Math.max(CALL_MIN_MS, Math.min(CALL_MAX_MS, leaseMs / 3));
      const reply = await broker.extend({ leases: items.map(heldOf) }, timeoutMs);
      const answers = new Map(reply.leases.map((answer) => [answer.id, answer]));
      for (const item of items) {
        // The lease was replaced by a newer one, or ended, while the call was on its way.
        if (item.lease.lease_token !== tokens.get(item) || item.gone) continue;
        this.#apply(item, answers.get(item.lease.id), at);
      }
    } catch (err) {
      if (err instanceof TokenRefused) this.#deps.onRefused(err);
      logger.warn({ err: describe(err), leases: items.length }, 'leases could not be extended, trying again');
      for (const item of items) item.extendAt = clock.monotonic() + leaseMs * RETRY_SHARE;
    }
  }

  #apply(item: HeldItem, answer: { ok: boolean; cancel?: boolean } | undefined, at: number): void {
    if (answer?.cancel === true) this.#deps.onCancelled(item);
    else if (answer?.ok === true) {
      const hadRunOut = item.expiresAt <= this.#deps.clock.monotonic();
      extended(item, at);
      if (hadRunOut) this.#deps.onRegained();
    } else this.#deps.onLost(item);
  }
}
