// SPDX-License-Identifier: Apache-2.0
import type { AppDemandWire, UnitWire } from '#base/wire/demand.ts';
import type { UnitObservation } from '../units/unit-driver.ts';
import type { DismissAction } from './types.ts';

/**
 * Units that ended without the queue's leave (killed, out of memory, lost with their node, drained): the queue would count them as
 * alive until they have been silent for long. Meanwhile they would fill the floor, so that the queue sends living units away, and
 * work of their revision would wait for them. One that still holds leases is not asked for: those run out first, and the demand
 * says so. Whoever observes sees every unit that was created before the demand was asked for, so one that called and is not there
 * has ended, be it with an earlier process of a machine that runs its units itself.
 */
export function goneUnits(units: readonly UnitObservation[], demand: AppDemandWire): readonly DismissAction[] {
  const alive = new Set(units.filter((unit) => !isFinished(unit)).map(({ unit }) => unit));
  return demand.units
    .filter((wire) => isCounted(wire) && wire.leases === 0 && !alive.has(wire.unit))
    .map(({ unit }) => ({ type: 'dismiss', unit }));
}

/** Names of the units that the queue counts as alive. */
export function countedUnits(demand: AppDemandWire): ReadonlySet<string> {
  return new Set(demand.units.filter(isCounted).map(({ unit }) => unit));
}

function isCounted({ retired }: UnitWire): boolean {
  return !retired;
}

function isFinished({ phase }: UnitObservation): boolean {
  return phase === 'Succeeded' || phase === 'Failed';
}
