// SPDX-License-Identifier: Apache-2.0
import type { LeaseRequest } from './lease-queue.ts';

/** What the queue knows of a unit at the end of its lease call. */
export interface UnitSituation {
  /** Leases it holds, those just given included. */
  readonly holds: number;
  /** Something waits in the lanes it asked for, of its own revision. */
  readonly waiting: boolean;
  /** Units of the app's current revision that are not retired, this one included when it is of that revision. */
  readonly live: number;
  /** Since when it has had nothing to do. */
  readonly idleSince: number;
  readonly now: number;
  /** The app is being purged. */
  readonly closed: boolean;
}

export interface StayOrLeave {
  readonly leave: boolean;
  /** End of the linger, where waiting for it could change the verdict. */
  readonly recheckAt?: number;
}

const STAY: StayOrLeave = { leave: false };
const LEAVE: StayOrLeave = { leave: true };

/** Whether a unit goes on; the Lua of the redis driver holds the same table, and one conformance suite both to it. */
export function stayOrLeave(
  request: Pick<LeaseRequest, 'desiredState' | 'revision' | 'currentRevision' | 'floor' | 'lingerMs'>,
  unit: UnitSituation,
): StayOrLeave {
  if (unit.holds > 0) return STAY;
  if (unit.closed || request.desiredState === 'Paused') return LEAVE;
  if (unit.waiting) return STAY;
  if (request.desiredState === 'Draining' || request.revision !== request.currentRevision) return LEAVE;
  // No recheck at the floor: the verdict changes only when a unit joins, and that wakes the others.
  if (unit.live <= request.floor) return STAY;
  const until = unit.idleSince + request.lingerMs;
  return unit.now >= until ? LEAVE : { leave: false, recheckAt: until };
}
