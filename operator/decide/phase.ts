// SPDX-License-Identifier: Apache-2.0
import type { InferenceAppStatus } from '#crds/inference-app.gen.ts';
import { timestamp } from './conditions.ts';
import { backoffUntil } from './failures.ts';
import type { Fleet } from './fleet.ts';
import type { DecideInput, Knowledge } from './types.ts';

export interface PhaseReason {
  readonly phase: NonNullable<InferenceAppStatus['phase']>;
  /** One sentence for people. Holds no number that moves by itself, since each change of it is a write. */
  readonly reason: string;
}

/** The phase: what the user asked for first, then what is in the way, then what is on its way. */
export function phaseOf(input: DecideInput, fleet: Fleet, known: Knowledge): PhaseReason {
  const { desiredState } = input.app.spec;
  if (desiredState === 'Paused') return paused(fleet);
  const held = heldBecause(input, fleet, known);
  if (desiredState === 'Draining') return draining(fleet, known, held);
  if (held !== undefined) return { phase: 'Held', reason: held };
  if (known.kind === 'known') {
    const { desired, creating } = known;
    const missing = desired.units > fleet.serving.length && desired.queued > 0;
    if (creating > 0 || fleet.starting.length > 0 || missing) return { phase: 'Scaling', reason: 'units are starting' };
    if (desired.uncapped > desired.units) {
      return {
        phase: 'Ready',
        reason: `all ${desired.units} units that maxUnits allows are serving, more would be of use`,
      };
    }
  }
  const reason = fleet.serving.length > 0 ? 'units are serving' : 'no unit is needed; the first request starts one';
  return { phase: 'Ready', reason };
}

function paused(fleet: Fleet): PhaseReason {
  const busy = fleet.serving.length + fleet.starting.length + fleet.leaving.length > 0;
  const units = busy ? 'units finish what they hold and leave' : 'no unit runs';
  return { phase: 'Paused', reason: `requests are accepted and queued; ${units}` };
}

function draining(fleet: Fleet, known: Knowledge, held: string | undefined): PhaseReason {
  const prefix = 'new requests are refused;';
  if (held !== undefined) return { phase: 'Draining', reason: `${prefix} what is queued can't be finished: ${held}` };
  const work = known.kind === 'known' && known.demand.queued + known.demand.leased > 0;
  if (work) return { phase: 'Draining', reason: `${prefix} what is queued is being finished` };
  const left = fleet.serving.length + fleet.starting.length + fleet.leaving.length > 0;
  return { phase: 'Draining', reason: `${prefix} nothing is queued, ${left ? 'units leave' : 'no unit runs'}` };
}

/** Why the units that are wanted can't start, or undefined. A reason that concerns no unit now wanted is left to the conditions. */
function heldBecause(input: DecideInput, fleet: Fleet, known: Knowledge): string | undefined {
  const { placement, specProblem } = input;
  if (placement.kind === 'none') return placement.message;
  if (specProblem !== undefined) return specProblem.message;
  if (known.kind === 'unknown') return input.gatewayProblem ?? 'the gateway does not answer';
  const until = backoffUntil(input.memory);
  const wanted = known.desired.units > fleet.serving.length;
  if (!wanted) return undefined;
  if (until !== undefined && until > input.now && fleet.starting.length === 0) {
    return `${input.memory.failures} starts in a row failed, the next is tried at ${timestamp(until)}: ${input.memory.lastFailure ?? ''}`;
  }
  const stuck = fleet.starting.filter((unit) => unit.trouble !== undefined);
  if (stuck.length === 0 || stuck.length < fleet.starting.length || known.creating > 0) return undefined;
  return [...new Set(stuck.map((unit) => unit.message ?? 'a unit can not start'))].toSorted().join('; ');
}
