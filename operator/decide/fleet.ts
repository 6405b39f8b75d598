// SPDX-License-Identifier: Apache-2.0
import type { AppDemandWire, UnitWire } from '#base/wire/demand.ts';
import type { UnitObservation } from '../units/unit-driver.ts';

/** The units of an app, sorted by what may still be expected of them. The groups are disjoint. */
export interface Fleet {
  /** Live and known to the gateway: they lease. */
  readonly serving: readonly UnitObservation[];
  /** Live, not yet known to the gateway: capacity that is on its way. */
  readonly starting: readonly UnitObservation[];
  /** Not finished, but will never lease again: retired by operator or queue, or being deleted. */
  readonly leaving: readonly UnitObservation[];
  readonly succeeded: readonly UnitObservation[];
  readonly failed: readonly UnitObservation[];
}

/**
 * The gateway is the witness of readiness: a unit serves from its first call to it. A pod's readiness only stands in while the
 * gateway is unknown, since a container counts as ready long before its model has loaded.
 */
export function sortUnits(units: readonly UnitObservation[], demand: AppDemandWire | undefined): Fleet {
  const known = new Map((demand?.units ?? []).map((unit) => [unit.unit, unit]));
  const fleet = { serving: [], starting: [], leaving: [], succeeded: [], failed: [] } satisfies Fleet;
  const groups: Record<keyof Fleet, UnitObservation[]> = fleet;
  for (const unit of units) groups[groupOf(unit, known.get(unit.unit), demand !== undefined)].push(unit);
  return fleet;
}

function groupOf(unit: UnitObservation, wire: UnitWire | undefined, gatewayKnown: boolean): keyof Fleet {
  if (unit.phase === 'Succeeded') return 'succeeded';
  if (unit.phase === 'Failed') return 'failed';
  // Told to leave by the queue, it is retired there before its process ends: it is no capacity any more.
  if (unit.retired || unit.leaving || wire?.retired === true) return 'leaving';
  const serves = gatewayKnown ? wire !== undefined : unit.phase === 'Running' && unit.ready > 0;
  return serves ? 'serving' : 'starting';
}

/** Units that lease now or will. */
export function liveUnits(fleet: Fleet): readonly UnitObservation[] {
  return [...fleet.serving, ...fleet.starting];
}

/** Units that hold, or may hold, a place and its GPU. */
export function unfinishedCount(fleet: Fleet): number {
  return fleet.serving.length + fleet.starting.length + fleet.leaving.length;
}
