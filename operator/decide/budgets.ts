// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { REASONS } from '#crds/names.ts';
import type { AppDemandWire } from '#base/wire/demand.ts';
import type { UnitObservation } from '../units/unit-driver.ts';
import type { Fleet } from './fleet.ts';
import type { RetireAction } from './types.ts';

/** A unit that the queue has sent away holds nothing; a process that takes longer than this to end hangs. */
const LEAVE_GRACE_MS = 60_000;

interface Deadline {
  /** Unix ms. */
  readonly at: number;
  readonly reason: RetireAction['reason'];
  readonly message: string;
}

export interface Lateness {
  readonly late: readonly RetireAction[];
  /** Earliest deadline that has not passed yet (Unix ms). */
  readonly nextAt?: number;
}

/**
 * Units that have used up the time they may take: for a node, for the model server's first healthy answer, for the first lease,
 * or to end after the queue sent them away. They are to be retired; the gateway has the last word on each.
 */
export function lateUnits(
  app: InferenceApp,
  fleet: Fleet,
  demand: AppDemandWire,
  scheduleGraceSeconds: number,
  now: number,
): Lateness {
  const late: RetireAction[] = [];
  let nextAt: number | undefined;
  const check = (unit: UnitObservation, deadline: Deadline | undefined): void => {
    if (deadline === undefined) return;
    if (deadline.at > now) {
      nextAt = Math.min(nextAt ?? deadline.at, deadline.at);
      return;
    }
    const cause = unit.message === undefined ? '' : `: ${unit.message}`;
    const message = `unit ${unit.unit} ${deadline.message}${cause}`;
    late.push({ type: 'retire', unit: unit.unit, reason: deadline.reason, message });
  };
  for (const unit of fleet.starting) check(unit, startDeadline(app, unit, scheduleGraceSeconds));
  const lastSeen = new Map(demand.units.map((unit) => [unit.unit, unit.last_seen_at]));
  for (const unit of fleet.leaving) {
    if (!unit.retired && !unit.leaving) check(unit, leaveDeadline(lastSeen.get(unit.unit) ?? now));
  }
  return nextAt === undefined ? { late } : { late, nextAt };
}

function leaveDeadline(lastSeenAt: number): Deadline {
  const message = `was sent away by the queue and has not ended within ${LEAVE_GRACE_MS / 1000} s`;
  return { at: lastSeenAt + LEAVE_GRACE_MS, reason: REASONS.unitNotReady, message };
}

function startDeadline(app: InferenceApp, unit: UnitObservation, scheduleGraceSeconds: number): Deadline {
  if (unit.scheduledAt === undefined) {
    const at = unit.createdAt + scheduleGraceSeconds * 1000;
    return { at, reason: REASONS.unitUnschedulable, message: `found no node within ${scheduleGraceSeconds} s` };
  }
  const { startupGraceSeconds } = app.spec.scaling;
  const lease: Deadline = {
    at: unit.scheduledAt + startupGraceSeconds * 1000,
    reason: unit.trouble === 'ImagePull' ? REASONS.imagePullFailed : REASONS.unitNotReady,
    message: `asked for no work within ${startupGraceSeconds} s`,
  };
  const ready = readyDeadline(app, unit);
  return ready !== undefined && ready.at < lease.at ? ready : lease;
}

/** A native sidecar that fails its startup probe is restarted for ever (KEP-753), so the budget is held here. */
function readyDeadline(app: InferenceApp, unit: UnitObservation): Deadline | undefined {
  const { server } = app.spec.worker;
  if (server === undefined || unit.startedAt === undefined || unit.ready > 0) return undefined;
  const message = `did not answer ${server.healthPath} within ${server.readyTimeoutSeconds} s`;
  return { at: unit.startedAt + server.readyTimeoutSeconds * 1000, reason: REASONS.unitNotReady, message };
}
