// SPDX-License-Identifier: Apache-2.0
import { RETIRED_MEMORY_MS, UNIT_SILENT_MS } from '../limits.ts';
import { IndexedHeap } from './indexed-heap.ts';

export interface Unit {
  readonly unit: string;
  revision: string;
  lastSeenAt: number;
  /** Since when it has had nothing to do; 0 = it was given work since it last asked in vain. */
  idleSince: number;
  retired: boolean;
  /** When it is forgotten unless seen again. */
  forgetAt: number;
  leases: number;
  /** Suspects among its leases: while it holds one it is given nothing else. */
  suspects: number;
  /** First nonce of the last call that gave it something, and what that was; a process that starts anew has no such call to repeat. */
  lastNonce?: string;
  lastGiven?: readonly string[];
}

/** Units of one app: who is alive in which revision, and who must never come back. */
export class Units {
  readonly #units = new Map<string, Unit>();
  readonly #live = new Map<string, number>();
  readonly #forgetting = new IndexedHeap<Unit>(
    (a, b) => a.forgetAt < b.forgetAt || (a.forgetAt === b.forgetAt && a.unit < b.unit),
    (unit) => unit.unit,
  );

  get(unit: string): Unit | undefined {
    return this.#units.get(unit);
  }

  all(): Iterable<Unit> {
    return this.#units.values();
  }

  /** Units of the revision that are not retired. */
  live(revision: string): number {
    return this.#live.get(revision) ?? 0;
  }

  /** Takes a unit in as read from the store. */
  restore(unit: Unit): void {
    this.#units.set(unit.unit, unit);
    this.#forgetting.put(unit);
    if (!unit.retired) this.#count(unit.revision, 1);
  }

  /** Notes that the unit asked; a new one joins the live ones of its revision. */
  seen(name: string, revision: string, now: number): { readonly unit: Unit; readonly joined: boolean } {
    const known = this.#units.get(name);
    const unit = known ?? {
      unit: name,
      revision,
      lastSeenAt: now,
      idleSince: 0,
      retired: false,
      forgetAt: 0,
      leases: 0,
      suspects: 0,
    };
    const joined = known === undefined || known.revision !== revision;
    if (joined) {
      if (known !== undefined) this.#count(known.revision, -1);
      unit.revision = revision;
      this.#count(revision, 1);
      this.#units.set(name, unit);
    }
    this.touch(unit, now);
    return { unit, joined };
  }

  touch(unit: Unit, now: number): void {
    unit.lastSeenAt = now;
    this.postpone(unit, now + UNIT_SILENT_MS);
  }

  postpone(unit: Unit, forgetAt: number): void {
    unit.forgetAt = forgetAt;
    this.#forgetting.put(unit);
  }

  /** Never again; unknown units too. */
  retire(name: string, now: number): Unit {
    const known = this.#units.get(name);
    if (known?.retired === true) return known;
    const unit = known ?? {
      unit: name,
      revision: '',
      lastSeenAt: now,
      idleSince: 0,
      retired: true,
      forgetAt: 0,
      leases: 0,
      suspects: 0,
    };
    if (known !== undefined) this.#count(known.revision, -1);
    unit.retired = true;
    this.#units.set(name, unit);
    this.postpone(unit, now + RETIRED_MEMORY_MS);
    return unit;
  }

  forget(unit: Unit): void {
    this.#units.delete(unit.unit);
    this.#forgetting.delete(unit.unit);
    if (!unit.retired) this.#count(unit.revision, -1);
  }

  /** The unit that is to be forgotten first. */
  nextForgotten(): Unit | undefined {
    return this.#forgetting.peek();
  }

  #count(revision: string, by: number): void {
    const live = this.live(revision) + by;
    if (live === 0) this.#live.delete(revision);
    else this.#live.set(revision, live);
  }
}
