// SPDX-License-Identifier: Apache-2.0
import type { Lane, TenantShare } from '#gateway/queue/lease-queue.ts';

export const LANES: readonly Lane[] = ['online', 'batch'];
export const LANE_WEIGHT = { online: 4, batch: 1 };
export const PATIENCE_MS = 10_000;
export const DRAIN_SILENT_MS = 60_000;
export const UNIT_SILENT_MS = 900_000;
export const UNIT_RECHECK_MS = 60_000;
export const RETIRED_MS = (7 * 24 + 1) * 3_600_000;

export interface RefNew {
  readonly id: string;
  readonly tenant: string;
  readonly lane: Lane;
  readonly revision: string;
  readonly priority: number;
  readonly deadline: number | undefined;
  readonly cost: number;
  readonly bytes: number;
  readonly maxAttempts: number;
  readonly maxLosses: number;
  readonly share: TenantShare | undefined;
}

export interface RefToken {
  readonly id: string;
  readonly unit: string;
  readonly epoch: number;
  readonly nonce: string;
}

export interface RefAsk {
  readonly unit: string;
  readonly revision: string;
  readonly current: string;
  readonly lanes: readonly Lane[];
  readonly max: number;
  readonly leaseMs: number;
  readonly nonces: readonly string[];
  readonly fraction: number;
  readonly grace: number;
}

/** A request of the reference. */
export interface Job extends Omit<RefNew, 'revision' | 'share'> {
  revision: string;
  readonly seq: number;
  readonly createdAt: number;
  state: string;
  epoch: number;
  nonce: string;
  unit: string;
  leasedAt: number;
  until: number;
  failures: number;
  losses: number;
  cancelled: boolean;
  dead: boolean;
  redriven: boolean;
  charged: number;
  fraction: number;
  period: number;
  requeuedAt: number;
}

const FRESH = { state: 'queued', epoch: 0, nonce: '', unit: '', leasedAt: 0, until: 0, failures: 0, losses: 0 };
export const UNTRIED = {
  ...FRESH,
  cancelled: false,
  dead: false,
  redriven: false,
  charged: 0,
  fraction: 0,
  period: 0,
  requeuedAt: 0,
};

export interface Party {
  share: TenantShare;
  readonly finish: Record<Lane, number>;
  readonly floor: Record<Lane, number>;
  /** Lane and revision pairs in which it was eligible when it was looked at last. */
  eligible: string[];
}

export interface Machine {
  readonly name: string;
  revision: string;
  seen: number;
  forgetAt: number;
  retired: boolean;
}

export const score = (job: Job): readonly number[] => [-job.priority, job.deadline ?? Infinity, job.seq];
/** The order in which work of other revisions is re-keyed. */
export const place = ({ revision, lane, createdAt, id }: Job): readonly (number | string)[] => [
  revision,
  LANES.indexOf(lane),
  createdAt,
  id,
];
/** What a client can see of it. */
export const visible = ({ state, revision, epoch, failures, losses, dead }: Job): unknown => ({
  state,
  revision,
  epoch,
  failures,
  losses,
  deadLetter: dead,
});
export const least = <T>(items: readonly T[], rank: (item: T) => readonly (number | string)[]): T | undefined =>
  items.toSorted((a, b) => compare(rank(a), rank(b)))[0];

export function compare(a: readonly (number | string)[], b: readonly (number | string)[]): number {
  for (const [i, x] of a.entries()) {
    const y = b[i]!;
    if (x !== y) return x < y ? -1 : 1;
  }
  return 0;
}

/** A lane whose time has passed 2^50 goes back by its smallest eligible tag, where that is at least half of it. */
export function bringDown(lane: Lane, virtual: Record<Lane, number>, parties: readonly Party[]): void {
  const eligible = parties.filter((one) => one.eligible.some((at) => at.startsWith(lane)));
  const tags = eligible.map(({ finish, floor }) => Math.max(finish[lane], floor[lane]));
  const by = tags.length === 0 ? virtual[lane] : Math.min(...tags);
  if (virtual[lane] <= 2 ** 50 || by < Math.floor(virtual[lane] / 2)) return;
  for (const times of [virtual, ...parties.flatMap((one) => [one.finish, one.floor])])
    times[lane] = Math.max(0, times[lane] - by);
}

/** Size class: 0 for no bytes, else how often the size can be quartered before nothing is left. */
function sizeOf(bytes: number): number {
  let size = 0;
  for (let left = bytes; left > 0 && size < 16; left = Math.floor(left / 4)) size++;
  return size;
}

/** Learned service times: of each revision by size class, and of all sizes together. */
export class Averages {
  readonly #known = new Map<string, number>();

  of(revision: string, bytes: number): number {
    return this.#known.get(`${revision} ${sizeOf(bytes)}`) ?? this.#known.get(`${revision} any`) ?? 1_000_000;
  }

  teach(revision: string, bytes: number, micros: number): void {
    for (const size of [String(sizeOf(bytes)), 'any']) {
      const key = `${revision} ${size}`;
      const before = this.#known.get(key);
      this.#known.set(key, before === undefined ? micros : before + Math.floor((micros - before) / 8));
    }
  }

  keep(isUsed: (revision: string) => boolean): void {
    for (const key of this.#known.keys()) if (!isUsed(key.split(' ')[0]!)) this.#known.delete(key);
  }
}
