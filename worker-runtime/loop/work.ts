// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { WireHeld, WireLease } from '#base/wire/broker.ts';
import { BadEncoding } from '../broker/payloads.ts';
import type { Payloads } from '../broker/payloads.ts';
import { BrokerUnavailable, clip, describe } from '../errors.ts';
import type { Executor, Outcome, WorkItem } from '../executor.ts';
import type { UnitMetrics } from '../metrics.ts';
import type { Committer } from './committer.ts';
import { heldOf, holdLease } from './held.ts';
import type { HeldItem } from './held.ts';

export interface WorkDeps {
  readonly payloads: Payloads;
  readonly executor: Executor;
  readonly committer: Committer;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: UnitMetrics;
  /** A request left the unit's hands. */
  readonly onDone: () => void;
}

/** The requests that a unit holds, on their way from the lease through a slot of the executor to the gateway. */
export class Work {
  readonly #deps: WorkDeps;
  readonly #held = new Map<string, HeldItem>();
  readonly #idleSlots: number[];
  #waiting: HeldItem[] = [];
  #halted = false;

  constructor(deps: WorkDeps) {
    this.#deps = deps;
    this.#idleSlots = Array.from({ length: deps.executor.slots }, (_, slot) => slot);
  }

  /** By the id of the request. */
  get held(): ReadonlyMap<string, HeldItem> {
    return this.#held;
  }

  /** Takes a lease; `dispatch` starts it, so that the leases of one reply become one batch. */
  take(lease: WireLease): void {
    const known = this.#held.get(lease.id);
    if (known !== undefined) return this.#takeAgain(known, lease);
    const { clock, payloads } = this.#deps;
    const item = holdLease(lease, clock);
    this.#held.set(lease.id, item);
    this.#deps.metrics.held.set(this.#held.size);
    try {
      const inline = payloads.inline(lease.body);
      if (inline !== undefined) return this.#enter(item, inline);
    } catch (err) {
      return this.#rejectBody(item, err);
    }
    void payloads.fetch(lease.body, item.abort.signal).then(
      (body) => {
        this.#enter(item, body);
        this.dispatch();
      },
      (err: unknown) => this.#rejectBody(item, err),
    );
  }

  /** Fills idle slots with what waits. */
  dispatch(): void {
    if (this.#halted) return;
    this.#waiting = this.#waiting.filter((item) => !item.gone);
    while (this.#waiting.length > 0 && this.#idleSlots.length > 0) {
      const batch = this.#nextBatch();
      // Every lease may have run out: the extender finds out, and either loses or regains them.
      if (batch.length === 0) return;
      void this.#runBatch(this.#idleSlots.shift() ?? 0, batch);
    }
  }

  /** Another unit has it, or will: what has not begun must not begin here; what runs may still win by finishing first. */
  lose(item: HeldItem): void {
    this.#deps.logger.warn({ id: item.lease.id, phase: item.phase }, 'lease lost');
    if (item.phase === 'running' || item.phase === 'committing') item.extendAt = Infinity;
    else this.#forgo(item);
  }

  /** The queue hears at once; a handler that runs is told by its signal and keeps its slot until it returns. */
  cancel(item: HeldItem): void {
    if (item.phase === 'committing') {
      item.extendAt = Infinity;
      return;
    }
    void this.#deps.committer.release([heldOf(item)]);
    if (item.phase === 'running') {
      item.gone = true;
      item.abort.abort(new Error('cancelled'));
    } else this.#forgo(item);
  }

  /** Starts nothing more. */
  halt(): void {
    this.#halted = true;
  }

  /** Lets go of all that is not on its way to the gateway yet, and answers what of it must be given back. */
  abandon(): readonly WireHeld[] {
    const rest = [...this.#held.values()].filter((item) => item.phase !== 'committing');
    for (const item of rest) {
      item.abort.abort(new Error('the unit ends'));
      this.#drop(item);
    }
    return rest.filter((item) => !item.gone).map(heldOf);
  }

  /**
   * An outcome is on its way whose lease has run out (the gateway was away). It is still good, as long as nobody has leased the request
   * again; so this unit must not do that either before it is handed in.
   */
  owesLate(): boolean {
    const at = this.#deps.clock.monotonic();
    return [...this.#held.values()].some((item) => item.phase === 'committing' && item.expiresAt <= at);
  }

  /**
   * Its lease ran out (the gateway was away) and came back to the same unit: the attempt under way goes on under the new lease, and
   * an outcome on its way is handed in under that one, should it be too late for the old one.
   */
  #takeAgain(known: HeldItem, lease: WireLease): void {
    if (known.gone) {
      void this.#deps.committer.release([{ id: lease.id, lease_token: lease.lease_token }]);
      return;
    }
    const { extendAt, expiresAt } = holdLease(lease, this.#deps.clock);
    Object.assign(known, { lease, extendAt, expiresAt });
  }

  #enter(item: HeldItem, body: Uint8Array): void {
    if (item.gone || item.phase !== 'fetching') return;
    const { id, attempt, timeout_seconds: timeoutSeconds, traceparent } = item.lease;
    item.phase = 'waiting';
    item.work = {
      id,
      body,
      contentType: item.lease.body.content_type,
      attempt,
      timeoutMs: Math.max(1, timeoutSeconds) * 1000,
      ...(traceparent === undefined ? {} : { traceparent }),
      signal: item.abort.signal,
    };
    this.#waiting.push(item);
  }

  #rejectBody(item: HeldItem, err: unknown): void {
    if (item.gone || this.#halted) return;
    const message = clip(`the body could not be read: ${describe(err)}`);
    // The store is away, or the URL died: that is neither the input's fault nor the handler's. The next lease brings a fresh URL.
    if (err instanceof BrokerUnavailable) return this.#commit(item, { kind: 'returned', reason: message });
    const kind = err instanceof BadEncoding ? 'input' : 'handler';
    this.#commit(item, { kind: 'failed', failure: { kind, message } });
  }

  /** The oldest waiting request with as many neighbours as fit; one that was tried before runs alone. */
  #nextBatch(): readonly HeldItem[] {
    const at = this.#deps.clock.monotonic();
    const live = this.#waiting.filter((item) => item.expiresAt > at);
    const first = live[0];
    if (first === undefined) return [];
    const fresh = live.filter((item) => item.lease.attempt <= 1).slice(0, this.#deps.executor.batchSize);
    const batch = first.lease.attempt > 1 ? [first] : fresh;
    this.#waiting = this.#waiting.filter((item) => !batch.includes(item));
    return batch;
  }

  async #runBatch(slot: number, batch: readonly HeldItem[]): Promise<void> {
    const items = new Map<WorkItem, HeldItem>();
    for (const item of batch) {
      item.phase = 'running';
      if (item.work !== undefined) items.set(item.work, item);
    }
    await this.#deps.executor.run(slot, [...items.keys()], (work, outcome) => {
      const item = items.get(work);
      if (item !== undefined && item.phase === 'running') this.#commit(item, outcome);
    });
    this.#idleSlots.push(slot);
    this.dispatch();
  }

  #commit(item: HeldItem, outcome: Outcome): void {
    const { metrics } = this.#deps;
    item.phase = 'committing';
    metrics.count(outcome);
    if (item.gone) return this.#drop(item);
    void this.#handIn(item, outcome);
  }

  async #handIn(item: HeldItem, outcome: Outcome): Promise<void> {
    const { committer, logger } = this.#deps;
    for (;;) {
      const held = heldOf(item);
      const delivery = await committer.commit(held, outcome);
      logger.debug({ id: held.id, outcome: outcome.kind, delivery }, 'request is done here');
      const leasedAnew = item.lease.lease_token !== held.lease_token;
      if (!leasedAnew) break;
      if (delivery === 'lost') continue;
      // It was taken under the old token after all, so the new lease is another attempt: not for a unit that has dropped the body.
      await committer.release([heldOf(item)]);
      break;
    }
    this.#drop(item);
  }

  #forgo(item: HeldItem): void {
    item.gone = true;
    item.abort.abort(new Error('no longer ours'));
    this.#drop(item);
  }

  #drop(item: HeldItem): void {
    this.#held.delete(item.lease.id);
    this.#deps.metrics.held.set(this.#held.size);
    this.#deps.onDone();
  }
}
