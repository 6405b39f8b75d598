// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import type { AppDemandWire } from '#base/wire/demand.ts';
import { liveUnits } from './fleet.ts';
import type { Fleet } from './fleet.ts';

export interface Desired {
  /** Units of the current revision that should live: the clamped number. */
  readonly units: number;
  /** The same without the cap, to say when the cap holds the app back. */
  readonly uncapped: number;
  /** Units that stay although there is nothing to do. */
  readonly floor: number;
  /** Queued requests that only units of the current revision can take. */
  readonly queued: number;
}

const NONE: Desired = { units: 0, uncapped: 0, floor: 0, queued: 0 };

/**
 * clamp(ceil((queued + leased) ÷ requestsPerUnit), minUnits, maxUnits) over the work that the current revision has to do.
 * Work of an older revision that still has live units is theirs: a new unit could not lease it. Once the last of them has left,
 * the queue re-keys that work to the current revision, and it counts here.
 */
export function desiredUnits(app: InferenceApp, revision: string, demand: AppDemandWire, fleet: Fleet): Desired {
  const { desiredState, scaling } = app.spec;
  if (desiredState === 'Paused') return NONE;
  const older = new Set(liveUnits(fleet).map((unit) => unit.revision));
  older.delete(revision);
  const queued = Math.max(0, demand.queued - sum([...older].map((rev) => demand.queued_by_revision[rev] ?? 0)));
  // Draining has no floor, and once nothing is queued the units there finish what they hold.
  if (desiredState === 'Draining' && queued === 0) return NONE;
  const leasedByOlder = sum(demand.units.filter((unit) => older.has(unit.revision)).map((unit) => unit.leases));
  const leased = Math.max(0, demand.leased - leasedByOlder);
  const floor = desiredState === 'Ready' ? scaling.minUnits : 0;
  const uncapped = Math.max(floor, Math.ceil((queued + leased) / scaling.requestsPerUnit));
  return { units: Math.min(uncapped, scaling.maxUnits), uncapped, floor, queued };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}
