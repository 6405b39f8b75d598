// SPDX-License-Identifier: Apache-2.0
import { backoffDelay } from '#base/backoff.ts';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import type { WireLease } from '#base/wire/broker.ts';
import { UNIT_EXIT } from '#base/wire/unit-env.ts';
import { BROKER_BACKOFF } from '../broker/broker-client.ts';
import type { Broker } from '../broker/broker-client.ts';
import { BadEncoding } from '../broker/payloads.ts';
import type { Payloads } from '../broker/payloads.ts';
import { LEASE_CALL_MAX } from '../config.ts';
import { BrokerError, BrokerUnavailable, TokenRefused, clip, describe } from '../errors.ts';
import type { Executor, Outcome, WorkItem } from '../executor.ts';
import type { UnitMetrics } from '../metrics.ts';
import { Committer } from './committer.ts';
import { Extender } from './extender.ts';
import { heldOf, holdLease } from './held.ts';
import type { HeldItem } from './held.ts';
import { Wakeup } from './wakeup.ts';

/** Why a unit ended, and the exit code that says so. */
export interface UnitEnd {
  readonly code: number;
  readonly reason: 'left' | 'stopped' | 'max-jobs' | 'refused' | 'crashed' | 'broker-lost';
  readonly detail: string;
}

export interface LoopOptions {
  readonly concurrency: number;
  /** 0 = no limit. */
  readonly maxJobs: number;
  readonly leaseWaitSeconds: number;
  readonly graceMs: number;
  readonly brokerLostMs: number;
}

export interface LoopDeps {
  readonly options: LoopOptions;
  readonly broker: Broker;
  readonly payloads: Payloads;
  /** Started. The loop closes it. */
  readonly executor: Executor;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: UnitMetrics;
}

/** Time for outcomes that are on their way, and for giving back the rest, once the unit ends. */
const LAST_CALLS_MS = 5_000;

/** Lease as much as there is room for → run → commit, and so on, until there is a reason to end. */
export class LeaseLoop {
  readonly #deps: LoopDeps;
  readonly #held = new Map<string, HeldItem>();
  readonly #changed: Wakeup;
  readonly #extender: Extender;
  readonly #committer: Committer;
  readonly #leaseCall = new AbortController();
  readonly #lastCalls = new AbortController();
  readonly #idleSlots: number[];
  #waiting: HeldItem[] = [];
  #leased = 0;
  #end: UnitEnd | undefined;
  #halted = false;

  constructor(deps: LoopDeps) {
    this.#deps = deps;
    this.#changed = new Wakeup(deps.clock);
    this.#idleSlots = Array.from({ length: deps.executor.slots }, (_, slot) => slot);
    const onRefused = (err: TokenRefused): void =>
      this.#finish({ code: UNIT_EXIT.left, reason: 'refused', detail: err.message });
    this.#committer = new Committer({ ...deps, signal: this.#lastCalls.signal, onRefused });
    this.#extender = new Extender({
      ...deps,
      held: this.#held,
      onRefused,
      onLost: (item) => this.#lose(item),
      onCancelled: (item) => this.#cancel(item),
      onRegained: () => this.#dispatch(),
    });
  }

  /** SIGTERM: leases nothing more, finishes what it holds within the grace, gives back the rest. */
  stop(detail: string): void {
    this.#finish({ code: UNIT_EXIT.left, reason: 'stopped', detail });
  }

  async run(): Promise<UnitEnd> {
    const { executor, logger, payloads } = this.#deps;
    void executor.broken.then((err) =>
      this.#finish({ code: UNIT_EXIT.crashed, reason: 'crashed', detail: err.message }),
    );
    const extending = this.#extender.run();
    const asked = await this.#leaseUntilEnd();
    logger.info({ reason: asked.reason, detail: asked.detail, held: this.#held.size }, 'unit stops leasing');
    const end = await this.#finishHeld(asked);
    this.#halted = true;
    const unended = await executor.close().catch((err: unknown) => describe(err));
    if (unended !== undefined) logger.error({ err: unended }, 'something that the unit started cannot be ended');
    await this.#giveBack();
    this.#extender.stop();
    await extending;
    await payloads.close();
    logger.info({ reason: end.reason, code: end.code, leased: this.#leased }, 'unit leaves');
    return end;
  }

  /** The first reason stands, except that a crash or a refusal also ends a unit that is finishing in peace. */
  #finish(end: UnitEnd): void {
    const hard = end.reason === 'crashed' || end.reason === 'refused';
    if (this.#end === undefined || (hard && !isHard(this.#end))) this.#end = end;
    this.#leaseCall.abort(new Error(end.detail));
    this.#changed.notify();
  }

  async #leaseUntilEnd(): Promise<UnitEnd> {
    const { options, clock, random, logger } = this.#deps;
    let failures = 0;
    let answeredAt = clock.monotonic();
    while (this.#end === undefined) {
      const room = this.#room();
      if (this.#end !== undefined) break;
      if (room <= 0) {
        await this.#changed.wait(undefined);
        continue;
      }
      try {
        await this.#leaseOnce(room);
        failures = 0;
        answeredAt = clock.monotonic();
      } catch (err) {
        this.#leaseFailed(err, clock.monotonic() - answeredAt > options.brokerLostMs);
        if (this.#end !== undefined) break;
        if (failures === 0) logger.warn({ err: describe(err) }, 'no answer to lease, trying again');
        const pause = clock.monotonic() + backoffDelay(BROKER_BACKOFF, failures++, random);
        // A change (an outcome delivered, say) is no reason to hammer a gateway that is down.
        while (this.#end === undefined && clock.monotonic() < pause)
          await this.#changed.wait(pause - clock.monotonic());
      }
    }
    return this.#end;
  }

  #room(): number {
    const { concurrency, maxJobs } = this.#deps.options;
    const free = Math.min(concurrency - this.#held.size, LEASE_CALL_MAX);
    if (maxJobs === 0) return free;
    const left = maxJobs - this.#leased;
    if (left <= 0 && this.#held.size === 0)
      this.#finish({ code: UNIT_EXIT.left, reason: 'max-jobs', detail: `${maxJobs} requests done` });
    return Math.min(free, left);
  }

  async #leaseOnce(room: number): Promise<void> {
    const { broker, options } = this.#deps;
    const reply = await broker.lease({ max: room, wait_seconds: options.leaseWaitSeconds }, this.#leaseCall.signal);
    for (const lease of reply.leases) this.#take(lease);
    if (reply.leases.length > 0) {
      this.#extender.poke();
      this.#dispatch();
    }
    if (reply.verdict === 'leave')
      this.#finish({ code: UNIT_EXIT.left, reason: 'left', detail: 'the queue does not need this unit' });
  }

  #leaseFailed(err: unknown, tooLong: boolean): void {
    if (this.#end !== undefined) return;
    if (err instanceof TokenRefused) this.#finish({ code: UNIT_EXIT.left, reason: 'refused', detail: err.message });
    else if (err instanceof BrokerError)
      this.#finish({
        code: UNIT_EXIT.crashed,
        reason: 'crashed',
        detail: `the gateway refuses to lease: ${err.message}`,
      });
    else if (!(err instanceof BrokerUnavailable))
      this.#finish({ code: UNIT_EXIT.crashed, reason: 'crashed', detail: describe(err) });
    else if (tooLong) this.#finish({ code: UNIT_EXIT.crashed, reason: 'broker-lost', detail: describe(err) });
  }

  #take(lease: WireLease): void {
    const { clock, payloads } = this.#deps;
    const known = this.#held.get(lease.id);
    if (known !== undefined && this.#takeAgain(known, lease)) return;
    const item = holdLease(lease, clock);
    this.#held.set(lease.id, item);
    this.#leased++;
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
        this.#dispatch();
      },
      (err: unknown) => this.#rejectBody(item, err),
    );
  }

  /** Its lease ran out (the gateway was away) and came back to the same unit: the attempt under way goes on under the new lease. */
  #takeAgain(known: HeldItem, lease: WireLease): boolean {
    if (known.phase === 'committing' || known.gone) {
      void this.#committer.release([{ id: lease.id, lease_token: lease.lease_token }]);
      return true;
    }
    known.lease = lease;
    const { extendAt, expiresAt } = holdLease(lease, this.#deps.clock);
    Object.assign(known, { extendAt, expiresAt });
    return true;
  }

  #enter(item: HeldItem, body: Uint8Array): void {
    if (item.gone || item.phase !== 'fetching') return;
    item.phase = 'waiting';
    item.work = {
      id: item.lease.id,
      body,
      contentType: item.lease.body.content_type,
      attempt: item.lease.attempt,
      timeoutMs: Math.max(1, item.lease.timeout_seconds) * 1000,
      ...(item.lease.traceparent === undefined ? {} : { traceparent: item.lease.traceparent }),
      signal: item.abort.signal,
    };
    this.#waiting.push(item);
  }

  #rejectBody(item: HeldItem, err: unknown): void {
    if (item.gone || this.#halted) return;
    const message = `the body could not be read: ${describe(err)}`;
    const kind = err instanceof BadEncoding ? 'input' : 'handler';
    this.#commit(item, { kind: 'failed', failure: { kind, message: clip(message) } });
  }

  #dispatch(): void {
    if (this.#halted) return;
    this.#waiting = this.#waiting.filter((item) => !item.gone);
    while (this.#waiting.length > 0 && this.#idleSlots.length > 0) {
      const batch = this.#nextBatch();
      // Every lease may have run out: the extender finds out, and either loses or regains them.
      if (batch.length === 0) return;
      void this.#runBatch(this.#idleSlots.shift() ?? 0, batch);
    }
  }

  /** The oldest waiting request with as many neighbours as fit; one that was tried before runs alone. */
  #nextBatch(): readonly HeldItem[] {
    const at = this.#deps.clock.monotonic();
    const live = this.#waiting.filter((item) => item.expiresAt > at);
    const first = live[0];
    if (first === undefined) return [];
    const batch =
      first.lease.attempt > 1
        ? [first]
        : live.filter((item) => item.lease.attempt <= 1).slice(0, this.#deps.executor.batchSize);
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
    this.#dispatch();
  }

  #commit(item: HeldItem, outcome: Outcome): void {
    item.phase = 'committing';
    this.#deps.metrics.count(outcome);
    if (item.gone) return this.#drop(item);
    void this.#committer.commit(heldOf(item), outcome).then((delivery) => {
      this.#deps.logger.debug({ id: item.lease.id, outcome: outcome.kind, delivery }, 'request is done here');
      this.#drop(item);
    });
  }

  #drop(item: HeldItem): void {
    this.#held.delete(item.lease.id);
    this.#deps.metrics.held.set(this.#held.size);
    this.#changed.notify();
  }

  /** Another unit has it, or will: what has not begun must not begin here; what runs may still win by finishing first. */
  #lose(item: HeldItem): void {
    this.#deps.logger.warn({ id: item.lease.id, phase: item.phase }, 'lease lost');
    if (item.phase === 'running' || item.phase === 'committing') {
      item.extendAt = Infinity;
      return;
    }
    this.#forgo(item);
  }

  /** The queue hears at once; a handler that runs is told by its signal and keeps its slot until it returns. */
  #cancel(item: HeldItem): void {
    if (item.phase === 'committing') {
      item.extendAt = Infinity;
      return;
    }
    void this.#committer.release([heldOf(item)]);
    if (item.phase === 'running') {
      item.gone = true;
      item.abort.abort(new Error('cancelled'));
    } else this.#forgo(item);
  }

  #forgo(item: HeldItem): void {
    item.gone = true;
    item.abort.abort(new Error('no longer ours'));
    this.#drop(item);
  }

  /** Waits for what is held: without limit after a verdict or maxJobs, for the grace after a signal, not at all when it is hopeless. */
  async #finishHeld(asked: UnitEnd): Promise<UnitEnd> {
    const { clock, options } = this.#deps;
    const until = asked.reason === 'stopped' ? clock.monotonic() + options.graceMs : Infinity;
    while (this.#held.size > 0 && !isHard(this.#end ?? asked)) {
      const left = until - clock.monotonic();
      if (left <= 0) break;
      await this.#changed.wait(left === Infinity ? undefined : left);
    }
    return this.#end ?? asked;
  }

  async #giveBack(): Promise<void> {
    const { clock } = this.#deps;
    const until = clock.monotonic() + LAST_CALLS_MS;
    const rest = [...this.#held.values()].filter((item) => item.phase !== 'committing');
    for (const item of rest) item.abort.abort(new Error('the unit ends'));
    const release = rest.filter((item) => !item.gone).map(heldOf);
    const releasing =
      release.length > 0 && this.#end?.reason !== 'refused' ? this.#committer.release(release) : undefined;
    for (const item of rest) this.#drop(item);
    while (this.#held.size > 0 && this.#end?.reason !== 'refused' && clock.monotonic() < until)
      await this.#changed.wait(until - clock.monotonic());
    if (releasing !== undefined)
      await Promise.race([
        releasing,
        clock.sleep(Math.max(0, until - clock.monotonic()), this.#lastCalls.signal),
      ]).catch(() => undefined);
    this.#lastCalls.abort(new Error('the unit ends'));
  }
}

function isHard(end: UnitEnd): boolean {
  return end.reason === 'crashed' || end.reason === 'refused' || end.reason === 'broker-lost';
}
