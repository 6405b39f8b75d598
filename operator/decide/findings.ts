// SPDX-License-Identifier: Apache-2.0
import { CONDITIONS, REASONS } from '#crds/names.ts';
import type { Reason } from '#crds/names.ts';
import type { UnitObservation } from '../units/unit-driver.ts';
import type { Finding } from './conditions.ts';
import { liveUnits } from './fleet.ts';
import type { Fleet } from './fleet.ts';
import type { PhaseReason } from './phase.ts';
import type { DecideInput, Knowledge } from './types.ts';

const SLICE = 'spec.resources.gpu.slice';

/** What each condition of an app has to say after a decision; every condition is always among them. */
export function findings(
  input: DecideInput,
  fleet: Fleet,
  known: Knowledge,
  phase: PhaseReason['phase'],
  sentence: string,
): Finding[] {
  return [
    readyFinding(input, fleet, phase, sentence),
    placementFinding(input),
    unsupportedFinding(unsupportedPaths(input, fleet)),
    unitsFinding(input, fleet),
    gatewayFinding(input, known),
  ];
}

function readyFinding(input: DecideInput, fleet: Fleet, phase: PhaseReason['phase'], message: string): Finding {
  const held = input.specProblem?.reason ?? REASONS.held;
  // Held: requests are still accepted and queued, and units that serve go on serving.
  const table: Record<PhaseReason['phase'], readonly [Finding['status'], Reason]> = {
    Paused: ['False', REASONS.paused],
    Draining: ['False', REASONS.draining],
    Held: ['False', held],
    Scaling: ['True', REASONS.scaling],
    Ready: ['True', fleet.serving.length > 0 ? REASONS.serving : REASONS.idle],
  };
  const [status, reason] = table[phase];
  return { type: CONDITIONS.ready, status, reason, message };
}

function placementFinding({ placement }: DecideInput): Finding {
  const type = CONDITIONS.placementResolved;
  if (placement.kind === 'none') {
    return { type, status: 'False', reason: placement.reason, message: placement.message };
  }
  return { type, status: 'True', reason: REASONS.resolved, message: `units run in placement ${placement.name}` };
}

/** Fields that are not acted on: by this version, or for units that run now. */
export function unsupportedPaths({ placement }: DecideInput, fleet: Fleet): readonly string[] {
  return liveUnits(fleet).some((unit) => unit.whole === true)
    ? [...placement.unsupported, SLICE]
    : placement.unsupported;
}

export function unsupportedFinding(paths: readonly string[]): Finding {
  const type = CONDITIONS.unsupported;
  if (paths.length === 0) {
    return { type, status: 'False', reason: REASONS.allSupported, message: 'every field of the spec is acted on' };
  }
  const others = paths.filter((path) => path !== SLICE).toSorted();
  const ours = others.length === 0 ? [] : [`this version does not act on ${others.join(', ')}`];
  const whole = 'units have whole GPUs: no admission server sliced their pods, or no node shares GPUs so';
  const message = [...ours, ...(paths.includes(SLICE) ? [`${SLICE}: ${whole}`] : [])].join('; ');
  return { type, status: 'True', reason: REASONS.fieldsIgnored, message };
}

const TROUBLE: Record<NonNullable<UnitObservation['trouble']>, Reason> = {
  Unschedulable: REASONS.unitUnschedulable,
  ImagePull: REASONS.imagePullFailed,
  Config: REASONS.unitNotReady,
};

function unitsFinding({ memory }: DecideInput, fleet: Fleet): Finding {
  const type = CONDITIONS.unitsHealthy;
  const stuck = fleet.starting.find((unit) => unit.trouble !== undefined);
  if (stuck?.trouble !== undefined) {
    const message = `unit ${stuck.unit}: ${stuck.message ?? stuck.trouble}`;
    return { type, status: 'False', reason: TROUBLE[stuck.trouble], message };
  }
  if (memory.failures > 0) {
    return { type, status: 'False', reason: REASONS.unitFailed, message: memory.lastFailure ?? 'a unit failed' };
  }
  if (fleet.serving.length + fleet.starting.length === 0) {
    return { type, status: 'True', reason: REASONS.noUnits, message: 'no unit runs' };
  }
  return { type, status: 'True', reason: REASONS.unitsHealthy, message: 'no unit has trouble' };
}

function gatewayFinding({ gatewayProblem }: DecideInput, known: Knowledge): Finding {
  const type = CONDITIONS.gatewayReachable;
  if (known.kind === 'known') {
    return { type, status: 'True', reason: REASONS.gatewayReachable, message: 'the gateway answers for this app' };
  }
  const message = gatewayProblem ?? 'the gateway does not answer';
  return { type, status: 'False', reason: REASONS.gatewayUnreachable, message };
}
