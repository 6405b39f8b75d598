// SPDX-License-Identifier: Apache-2.0
import { backoffDelay } from '#base/backoff.ts';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import type { WireLease } from '#base/wire/broker.ts';
import { UNIT_EXIT } from '#base/wire/unit-env.ts';
import { BROKER_BACKOFF } from '../broker/broker-client.ts';
import type { Broker } from '../broker/broker-client.ts';
import type { Payloads } from '../broker/payloads.ts';
import { LEASE_CALL_MAX } from '../config.ts';
import { BrokerError, BrokerUnavailable, TokenRefused, describe } from '../errors.ts';
import type { Executor } from '../executor.ts';
import type { UnitMetrics } from '../metrics.ts';
import { Committer } from './committer.ts';
import { Extender } from './extender.ts';
import { Wakeup } from './wakeup.ts';
import { Work } from './work.ts';

/** Why a unit ended, and the exit code that says so. */
export interface UnitEnd {
  readonly code: number;
  readonly reason: 'left' | 'stopped' | 'max-jobs' | 'refused' | 'crashed' | 'broker-lost';
  readonly detail: string;
}

export interface LoopOptions {
  readonly archetype: 'Handler' | 'Sidecar';
  readonly instances: number;
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

/**
 * A lease call that hangs in the air when the unit is asked to stop gets this long to be answered. Breaking it off at once would lose
 * what its answer, perhaps on its way already, gives: those leases would have to run out. With work in the queue it is answered in
 * a few ms; without, there is nothing to lose.
 */
const LAST_ANSWER_MS = 250;

/** How often a unit that owes a late outcome looks whether the lease holds again: heartbeats may have brought it back. */
const LATE_LOOK_MS = 1_000;

/** Lease as much as there is room for → run → commit, and so on, until there is a reason to end. */
export class LeaseLoop {
  readonly #deps: LoopDeps;
  readonly #changed: Wakeup;
  readonly #committer: Committer;
  readonly #work: Work;
  readonly #extender: Extender;
  readonly #leaseCall = new AbortController();
  readonly #lastCalls = new AbortController();
  /** The hand-back of what was leased after the end had come. */
  #declined: Promise<unknown> = Promise.resolve();
  #leased = 0;
  #end: UnitEnd | undefined;

  constructor(deps: LoopDeps) {
    this.#deps = deps;
    this.#changed = new Wakeup(deps.clock);
    const onRefused = (err: TokenRefused): void => this.#finish(UNIT_EXIT.left, 'refused', err.message);
    this.#committer = new Committer({ ...deps, signal: this.#lastCalls.signal, onRefused });
    const work = new Work({ ...deps, committer: this.#committer, onDone: () => this.#changed.notify() });
    this.#work = work;
    this.#extender = new Extender({
      ...deps,
      held: work.held,
      onRefused,
      onLost: (item) => work.lose(item),
      onCancelled: (item) => work.cancel(item),
      onRegained: () => work.dispatch(),
    });
  }

  /** SIGTERM: leases nothing more, finishes what it holds within the grace, gives back the rest. */
  stop(detail: string): void {
    this.#finish(UNIT_EXIT.left, 'stopped', detail);
  }

  async run(): Promise<UnitEnd> {
    const { executor, logger, payloads } = this.#deps;
    void executor.broken.then((err) => this.#finish(UNIT_EXIT.crashed, 'crashed', err.message));
    const extending = this.#extender.run();
    const asked = await this.#leaseUntilEnd();
    logger.info({ reason: asked.reason, detail: asked.detail, held: this.#work.held.size }, 'unit stops leasing');
    const end = await this.#finishHeld(asked);
    this.#work.halt();
    const unended = await executor.close().catch((err: unknown) => describe(err));
    if (unended !== undefined) logger.error({ err: unended }, 'something that the unit started cannot be ended');
    await this.#giveBack(end);
    this.#extender.stop();
    await extending;
    await payloads.close();
    logger.info({ reason: end.reason, code: end.code, leased: this.#leased }, 'unit leaves');
    return end;
  }

  /** The first reason stands, except that a crash or a refusal also ends a unit that is finishing in peace. */
  #finish(code: number, reason: UnitEnd['reason'], detail: string): void {
    const end = { code, reason, detail };
    if (this.#end === undefined || (isHard(end) && !isHard(this.#end))) this.#end = end;
    if (reason === 'stopped') void this.#abortLater(detail);
    else this.#leaseCall.abort(new Error(detail));
    this.#changed.notify();
  }

  async #abortLater(detail: string): Promise<void> {
    const { clock } = this.#deps;
    await clock.sleep(LAST_ANSWER_MS, this.#leaseCall.signal).catch(() => undefined);
    this.#leaseCall.abort(new Error(detail));
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
      if (this.#work.owesLate()) {
        await this.#changed.wait(LATE_LOOK_MS);
        continue;
      }
      try {
        await this.#leaseOnce(room);
        failures = 0;
        answeredAt = clock.monotonic();
      } catch (err) {
        this.#leaseFailed(err, clock.monotonic() - answeredAt > options.brokerLostMs);
        if (failures === 0 && this.#end === undefined) logger.warn({ err: describe(err) }, 'no answer to lease');
        await this.#pause(backoffDelay(BROKER_BACKOFF, failures++, random));
      }
    }
    return this.#end;
  }

  /** A change (an outcome delivered, say) is no reason to hammer a gateway that is down; the unit's end is one to stop waiting. */
  async #pause(ms: number): Promise<void> {
    const { clock } = this.#deps;
    const until = clock.monotonic() + ms;
    while (this.#end === undefined && clock.monotonic() < until) await this.#changed.wait(until - clock.monotonic());
  }

  #room(): number {
    const { concurrency, maxJobs } = this.#deps.options;
    const held = this.#work.held.size;
    const free = Math.min(concurrency - held, LEASE_CALL_MAX);
    if (maxJobs === 0) return free;
    const left = maxJobs - this.#leased;
    if (left <= 0 && held === 0) this.#finish(UNIT_EXIT.left, 'max-jobs', `${maxJobs} requests done`);
    return Math.min(free, left);
  }

  async #leaseOnce(room: number): Promise<void> {
    const { broker, options } = this.#deps;
    const { archetype, instances, concurrency, leaseWaitSeconds } = options;
    const call = {
      max: room,
      wait_seconds: leaseWaitSeconds,
      capability: { archetype, instances, concurrency },
      held: this.#work.held.size,
    };
    const reply = await broker.lease(call, this.#leaseCall.signal);
    if (this.#end !== undefined) return this.#decline(reply.leases);
    for (const lease of reply.leases) this.#work.take(lease);
    if (reply.leases.length > 0) {
      this.#leased += reply.leases.length;
      this.#extender.poke();
      this.#work.dispatch();
    }
    if (reply.verdict === 'leave') this.#finish(UNIT_EXIT.left, 'left', 'the queue does not need this unit');
  }

  /** What came after the unit was asked to stop goes back; only what it has under way anyway (leased anew) it goes on with. */
  #decline(leases: readonly WireLease[]): void {
    const known = leases.filter(({ id }) => this.#work.held.has(id));
    for (const lease of known) this.#work.take(lease);
    const rest = leases.filter(({ id }) => !this.#work.held.has(id));
    // At once, and awaited only as long as the other last calls: the gateway may be away by now.
    this.#declined = this.#committer.release(rest.map(({ id, lease_token }) => ({ id, lease_token })));
  }

  #leaseFailed(err: unknown, tooLong: boolean): void {
    if (this.#end !== undefined) return;
    if (err instanceof TokenRefused) this.#finish(UNIT_EXIT.left, 'refused', err.message);
    else if (err instanceof BrokerError)
      this.#finish(UNIT_EXIT.crashed, 'crashed', `the gateway refuses to lease: ${err.message}`);
    else if (!(err instanceof BrokerUnavailable)) this.#finish(UNIT_EXIT.crashed, 'crashed', describe(err));
    else if (tooLong) this.#finish(UNIT_EXIT.crashed, 'broker-lost', describe(err));
  }

  /** Waits for what is held: without limit after a verdict or maxJobs, for the grace after a signal, not at all when it is hopeless. */
  async #finishHeld(asked: UnitEnd): Promise<UnitEnd> {
    const { clock, options } = this.#deps;
    const until = asked.reason === 'stopped' ? clock.monotonic() + options.graceMs : Infinity;
    while (this.#work.held.size > 0 && !isHard(this.#end ?? asked)) {
      const left = until - clock.monotonic();
      if (left <= 0) break;
      await this.#changed.wait(left === Infinity ? undefined : left);
    }
    return this.#end ?? asked;
  }

  /** What did not finish goes back, no budget charged. A refused unit has no say any more: its leases run out. */
  async #giveBack(end: UnitEnd): Promise<void> {
    const { clock } = this.#deps;
    const until = clock.monotonic() + LAST_CALLS_MS;
    const rest = this.#work.abandon();
    if (end.reason !== 'refused') {
      const released = Promise.all([this.#declined, rest.length === 0 ? undefined : this.#committer.release(rest)]);
      while (this.#work.held.size > 0 && clock.monotonic() < until) await this.#changed.wait(until - clock.monotonic());
      const late = clock.sleep(Math.max(0, until - clock.monotonic()), this.#lastCalls.signal).catch(() => undefined);
      await Promise.race([released, late]);
    }
    this.#lastCalls.abort(new Error('the unit ends'));
  }
}

function isHard({ reason }: UnitEnd): boolean {
  return reason === 'crashed' || reason === 'refused' || reason === 'broker-lost';
}
