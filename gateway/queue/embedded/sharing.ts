// SPDX-License-Identifier: Apache-2.0
import type { Lane } from '../lease-queue.ts';
import { LANE_WEIGHTS } from '../limits.ts';

/** While batch work of a revision has waited too long: GPU time by lane, each part by the lane's weight. */
export interface SharingPeriod {
  readonly period: number;
  online: number;
  batch: number;
}

/** The revisions of an app whose lanes share. */
export class Sharing {
  /** Number of the last period that was begun. */
  periods = 0;
  readonly #running = new Map<string, SharingPeriod>();

  restore(periods: number, running: Readonly<Record<string, SharingPeriod>>): void {
    this.periods = periods;
    for (const [revision, one] of Object.entries(running)) this.#running.set(revision, one);
  }

  running(): Readonly<Record<string, SharingPeriod>> {
    return Object.fromEntries(this.#running);
  }

  of(revision: string): SharingPeriod | undefined {
    return this.#running.get(revision);
  }

  begin(revision: string): void {
    this.periods++;
    this.#running.set(revision, { period: this.periods, online: 0, batch: 0 });
  }

  end(revision: string): void {
    this.#running.delete(revision);
  }

  clear(): void {
    this.#running.clear();
  }

  /** The lane whose turn it is where both have work. */
  turn(revision: string): Lane {
    const shared = this.of(revision);
    return shared !== undefined && shared.batch < shared.online ? 'batch' : 'online';
  }

  /** Answers the number of the period that the lease belongs to. @param alone the other lane had nothing to give: it saves nothing up */
  charge(revision: string, lane: Lane, cost: number, alone: boolean): number {
    const shared = this.of(revision);
    if (shared === undefined) return 0;
    shared[lane] += Math.max(1, Math.floor(cost / LANE_WEIGHTS[lane]));
    const other = lane === 'online' ? 'batch' : 'online';
    if (alone) shared[other] = Math.max(shared[other], shared[lane]);
    return shared.period;
  }

  correct(revision: string, lane: Lane, period: number, delta: number): void {
    const shared = this.of(revision);
    if (shared?.period === period) shared[lane] = Math.max(0, shared[lane] + Math.floor(delta / LANE_WEIGHTS[lane]));
  }
}
