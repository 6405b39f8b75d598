// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { KubeMetrics } from './kube-metrics.ts';
import { createLeaseLock } from './lease-lock.ts';
import type { LeaseLock } from './lease-lock.ts';
import type { KubeClient } from './client.ts';
import type { ObjectRef } from './types.ts';

/** client-go's defaults. A leader stops acting 5 s before anybody else may start, which covers its calls under way. */
export const LEASE_TIMES: LeaseTimes = { leaseMs: 15_000, renewDeadlineMs: 10_000, retryMs: 2_000 };

export interface LeaseTimes {
  /** Others take over when they have seen no renewal for this long. */
  readonly leaseMs: number;
  /** A leader that could not renew for this long leads no more. Shorter than `leaseMs`. */
  readonly renewDeadlineMs: number;
  readonly retryMs: number;
}

export interface LeaderElectionOptions {
  readonly client: KubeClient;
  readonly lease: ObjectRef & { readonly namespace: string };
  /** Unique for each process run: host name and something random. */
  readonly identity: string;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: KubeMetrics;
  readonly times?: LeaseTimes;
  /** We lead. The signal aborts when we do not any more, or are about to hand over. */
  readonly onStarted: (leading: AbortSignal) => void;
  /**
   * We lead no more. 'lost': others may act already; the program should end (its state is no longer its own).
   * 'released': in order; the lease is given up only after this has resolved, so end all work in it.
   */
  readonly onStopped: (why: 'lost' | 'released') => Promise<void> | void;
}

export interface LeaderElection {
  start(): void;
  /** Hands over at once instead of letting the lease run out. Final. */
  stop(): Promise<void>;
  /**
   * Whether this process may act at this very moment. Counts from before the last renewal was *sent* and needs no timer:
   * false in time even when the event loop was blocked. Ask right before each effect.
   */
  isLeader(): boolean;
}

/** Leader election over a Lease (client-go's tools/leaderelection). Runs beside the work, never in its queue. */
export function createLeaderElection(options: LeaderElectionOptions): LeaderElection {
  return new Candidate(options);
}

class Candidate implements LeaderElection {
  readonly #options: LeaderElectionOptions;
  readonly #times: LeaseTimes;
  readonly #lock: LeaseLock;
  readonly #stopping = new AbortController();
  #running: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;
  #retiring = false;
  #leading: AbortController | undefined;
  /** onStopped calls that have not ended. */
  #ending = 0;
  #renewed = { monotonic: 0, wall: 0 };

  constructor(options: LeaderElectionOptions) {
    const times = options.times ?? LEASE_TIMES;
    if (!(times.retryMs < times.renewDeadlineMs && times.renewDeadlineMs < times.leaseMs)) {
      throw new TypeError('leader election: retryMs < renewDeadlineMs < leaseMs must hold');
    }
    this.#options = options;
    this.#times = times;
    this.#lock = createLeaseLock({ ...options, leaseMs: times.leaseMs });
    this.#gauge(0);
  }

  start(): void {
    if (this.#stopping.signal.aborted) throw new Error('this leader election was stopped');
    this.#running ??= this.#run();
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#end();
    return this.#stopped;
  }

  async #end(): Promise<void> {
    this.#retiring = true;
    // The loop goes on renewing while the work ends: nobody may start before that.
    await this.#step('released');
    this.#stopping.abort(new Error('leader election stops'));
    await this.#running;
    // Also when we never led: the last attempt may have got the lease without our learning of it.
    if (this.#running) await this.#release();
  }

  isLeader(): boolean {
    return this.#leading !== undefined && this.#sinceRenewal() < this.#times.renewDeadlineMs;
  }

  /** The monotonic clock stands still while a machine is suspended, the wall clock may be set back: the longer one counts. */
  #sinceRenewal(): number {
    const { clock } = this.#options;
    return Math.max(clock.monotonic() - this.#renewed.monotonic, clock.now() - this.#renewed.wall);
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await this.#attempt();
      await this.#options.clock.sleep(this.#times.retryMs, signal).catch(() => {});
    }
  }

  async #attempt(): Promise<void> {
    const { clock, logger, lease } = this.#options;
    const sent = { monotonic: clock.monotonic(), wall: clock.now() };
    try {
      const held = await this.#lock.tryHold({ signal: this.#stopping.signal, deadlineMs: this.#callDeadline() });
      // A renewal answered after the term's end cannot mend it: isLeader() was false, what relied on it must start over.
      if (!held || (this.#leading && !this.isLeader())) void this.#step('lost');
      else this.#renewedAt(sent);
    } catch (err) {
      if (!this.#stopping.signal.aborted) logger.warn({ lease: lease.name, err }, 'lease could not be renewed or read');
    }
  }

  #renewedAt(sent: { monotonic: number; wall: number }): void {
    this.#renewed = sent;
    // While the work of a term that ended is still ending, the lease is only kept, so that nobody else starts either.
    if (this.#leading || this.#retiring || this.#ending > 0) return;
    if (this.#sinceRenewal() < this.#times.renewDeadlineMs) this.#begin();
  }

  /** Ends the term on time whatever the renewal is waiting for. */
  async #guard(term: AbortController): Promise<void> {
    while (this.#leading === term) {
      const left = this.#times.renewDeadlineMs - this.#sinceRenewal();
      if (left <= 0) await this.#step('lost');
      else await this.#options.clock.sleep(left, term.signal).catch(() => {});
    }
  }

  /** Half of what is left, so that one stuck connection leaves time for a second attempt. */
  #callDeadline(): number {
    const left = this.#leading ? this.#times.renewDeadlineMs - this.#sinceRenewal() : this.#times.renewDeadlineMs;
    return Math.max(this.#times.retryMs / 2, left / 2);
  }

  #begin(): void {
    const { logger, identity, lease, onStarted } = this.#options;
    const term = new AbortController();
    this.#leading = term;
    this.#gauge(1);
    logger.info({ lease: lease.name, identity }, 'leading');
    try {
      onStarted(term.signal);
    } catch (err) {
      logger.error({ lease: lease.name, err }, 'onStarted threw');
    }
    void this.#guard(term);
  }

  async #step(why: 'lost' | 'released'): Promise<void> {
    const { logger, lease, onStopped } = this.#options;
    const leading = this.#leading;
    if (!leading) return;
    this.#leading = undefined;
    this.#gauge(0);
    leading.abort(new Error(`leadership ${why}`));
    logger.info({ lease: lease.name, why }, 'leading no more');
    this.#ending += 1;
    try {
      await onStopped(why);
    } catch (err) {
      logger.error({ lease: lease.name, err }, 'onStopped threw');
    } finally {
      this.#ending -= 1;
    }
  }

  async #release(): Promise<void> {
    try {
      await this.#lock.release({ deadlineMs: this.#times.renewDeadlineMs / 2 });
    } catch (err) {
      this.#options.logger.warn(
        { lease: this.#options.lease.name, err },
        'lease could not be released, it will run out',
      );
    }
  }

  #gauge(value: 0 | 1): void {
    this.#options.metrics.leader.set({ lease: this.#options.lease.name }, value);
  }
}
