// SPDX-License-Identifier: Apache-2.0
import { REASONS } from '#crds/names.ts';
import type { UnitObservation } from '../units/unit-driver.ts';
import type { UnitAction } from './types.ts';

export interface FinalDecision {
  readonly actions: readonly UnitAction[];
  /** No unit is left: what remains is the gateway's purge. */
  readonly unitsGone: boolean;
}

/**
 * What happens to the units of an app that is being deleted: each is retired as soon as it holds nothing (the gateway refuses
 * while it does), and removed once it has finished or was retired and nothing of it is ready. With the gateway unknown nothing
 * happens: the finalizer waits.
 */
export function decideFinal(units: readonly UnitObservation[], gatewayKnown: boolean): FinalDecision {
  if (!gatewayKnown) return { actions: [], unitsGone: units.length === 0 };
  const actions = units.flatMap((unit): UnitAction[] => {
    if (unit.leaving) return [];
    if (unit.phase === 'Succeeded' || unit.phase === 'Failed') return [{ type: 'remove', unit: unit.unit }];
    if (unit.retired) return unit.ready === 0 ? [{ type: 'remove', unit: unit.unit }] : [];
    const message = `unit ${unit.unit} belongs to an app that is being deleted`;
    return [{ type: 'retire', unit: unit.unit, reason: REASONS.deleting, message }];
  });
  return { actions, unitsGone: units.length === 0 };
}
