// SPDX-License-Identifier: Apache-2.0
import type { AppDemandWire } from '#base/wire/demand.ts';
import { REASONS } from '#crds/names.ts';
import type { UnitObservation } from '../units/unit-driver.ts';
import { lateUnits } from './budgets.ts';
import { desiredUnits } from './desired.ts';
import type { Desired } from './desired.ts';
import { backoffUntil, noteFailures, reapable } from './failures.ts';
import { liveUnits, sortUnits, unfinishedCount } from './fleet.ts';
import type { Fleet } from './fleet.ts';
import { countedUnits, goneUnits } from './gone.ts';
import { unitName } from './names.ts';
import { appStatus } from './status.ts';
import type { AppMemory, DecideInput, Decision, RetireAction, UnitAction } from './types.ts';

/** Time between two scale-ups even without a cooldown: makes maxScaleUpPerCycle a rate, however many events arrive. */
const CYCLE_MS = 1_000;

/**
 * Decides what happens to the units of one app. Pure: the same input gives the same decision, and a decision carried out twice
 * does nothing the second time. Never asks to remove a unit that could still work: `remove` is for units that have finished, or
 * that the gateway has retired and of which nothing is ready; `retire` is a question to the gateway, which says no while it leases.
 */
export function decideUnits(input: DecideInput): Decision {
  const fleet = sortUnits(input.units, input.demand);
  // Gateway unknown: nothing is started, since a unit could lease nothing; nothing is retired, since nobody can vouch that it is
  // idle; nothing is removed, so that "gateway down = no deletes" has no exception to reason about (DESIGN §6).
  if (input.demand === undefined) {
    const memory = noteFailures(input.memory, fleet, [], input.now, undefined);
    return { actions: [], memory, status: appStatus({ ...input, memory }, fleet, { kind: 'unknown' }) };
  }
  return decideKnown(input, input.demand, fleet);
}

function decideKnown(input: DecideInput, demand: AppDemandWire, fleet: Fleet): Decision {
  const { app, now, placement } = input;
  const desired = desiredUnits(app, input.revision, demand, fleet);
  // Without a placement nobody knows its grace; a unit that has no node then waits for a placement to resolve.
  const scheduleGrace = placement.kind === 'chosen' ? placement.scheduleGraceSeconds : Number.POSITIVE_INFINITY;
  const { late, nextAt } = lateUnits(app, fleet, demand, scheduleGrace, now);
  const memory = noteFailures(input.memory, fleet, late, now, demand);
  const surplus = surplusUnits(input, demand, fleet, desired, late);
  const gone = goneUnits(input.units, demand);
  const removals = removableUnits(fleet, demand, memory, now);
  const growth = growthOf(input, fleet, desired, memory);
  const actions: UnitAction[] = [...gone, ...removals.units, ...late, ...surplus, ...creations(input, growth.count)];
  const status = appStatus({ ...input, memory }, fleet, { kind: 'known', demand, desired, creating: growth.count });
  const decision = { actions, memory, status };
  // What the queue makes of a dismissal (a smaller floor, work that moved to another revision) is in the next demand.
  const goneAt = gone.length === 0 ? undefined : now + CYCLE_MS;
  const at = Math.min(...[nextAt, growth.retryAt, removals.nextAt, goneAt].filter((time) => time !== undefined));
  return Number.isFinite(at) ? { ...decision, requeueAfterMs: Math.max(1, at - now) } : decision;
}

interface Growth {
  readonly count: number;
  /** Unix ms at which more may start although nothing else changes. */
  readonly retryAt?: number;
}

function growthOf(input: DecideInput, fleet: Fleet, desired: Desired, memory: AppMemory): Growth {
  const { scaling } = input.app.spec;
  const current = liveUnits(fleet).filter((unit) => unit.revision === input.revision).length;
  // Beyond the floor a new unit must find something to take: leased work is in other hands already.
  const useful = Math.max(desired.queued, desired.floor - current);
  const missing = Math.min(desired.units - current, useful);
  if (missing <= 0 || input.placement.kind === 'none' || input.specProblem !== undefined) return { count: 0 };
  const waits = [backoffUntil(memory), spacingUntil(input, fleet)].filter((at) => at !== undefined && at > input.now);
  if (waits.length > 0) return { count: 0, retryAt: Math.max(...waits.map((at) => at ?? 0)) };
  // The cap holds for all revisions together, leaving units included: each may still hold its GPU.
  const room = Math.max(0, scaling.maxUnits - unfinishedCount(fleet));
  const count = Math.min(missing, scaling.maxScaleUpPerCycle, room);
  return count < Math.min(missing, room) ? { count, retryAt: input.now + spacingMs(input) } : { count };
}

/** Unix ms before which a further scale-up must wait. A start from zero never waits. */
function spacingUntil(input: DecideInput, fleet: Fleet): number | undefined {
  const { lastScaleUpAt } = input.memory;
  if (lastScaleUpAt === undefined || liveUnits(fleet).length === 0) return undefined;
  return lastScaleUpAt + spacingMs(input);
}

function spacingMs(input: DecideInput): number {
  return Math.max(CYCLE_MS, input.app.spec.scaling.scaleUpCooldownSeconds * 1000);
}

function creations(input: DecideInput, count: number): UnitAction[] {
  const { app, placement, revision, random } = input;
  if (placement.kind === 'none') return [];
  return Array.from({ length: count }, () => ({
    type: 'create',
    plan: {
      unit: unitName(app.metadata.name, random),
      app,
      appUid: app.metadata.uid ?? '',
      revision,
      placement: placement.name,
    },
  }));
}

/**
 * Units that wait for a node although nobody needs them any more: left alone they would hold a place in the scheduler's queue
 * and make an autoscaler buy a GPU for nothing. Units that run leave by the queue's verdict, never by this.
 */
function surplusUnits(
  input: DecideInput,
  demand: AppDemandWire,
  fleet: Fleet,
  desired: Desired,
  late: readonly RetireAction[],
): RetireAction[] {
  const taken = new Set(late.map((action) => action.unit));
  const waiting = fleet.starting
    .filter((unit) => unit.scheduledAt === undefined && !taken.has(unit.unit))
    .toSorted((a, b) => b.createdAt - a.createdAt || (a.unit < b.unit ? -1 : 1));
  const live = liveUnits(fleet).filter((unit) => unit.revision === input.revision && !taken.has(unit.unit)).length;
  const paused = input.app.spec.desiredState === 'Paused';
  const older = waiting.filter((unit) => unit.revision !== input.revision);
  const current = waiting.filter((unit) => unit.revision === input.revision);
  const unneeded = [
    ...older.filter((unit) => paused || (demand.queued_by_revision[unit.revision] ?? 0) === 0),
    ...current.slice(0, Math.max(0, live - desired.units)),
  ];
  return unneeded.map(({ unit }) => ({
    type: 'retire',
    unit,
    reason: REASONS.idle,
    message: `unit ${unit} waits for a node and is not needed any more`,
  }));
}

function removableUnits(
  fleet: Fleet,
  demand: AppDemandWire,
  memory: AppMemory,
  now: number,
): { units: UnitAction[]; nextAt?: number } {
  const { kept, until } = reapable(fleet, memory);
  const keep = kept !== undefined && until > now ? kept : undefined;
  // First the queue lets go of a unit, then its Job goes: the other way round an operator that restarts could not tell who is gone.
  const counted = countedUnits(demand);
  const over = [...fleet.succeeded, ...fleet.failed].filter((unit) => !counted.has(unit.unit));
  const finished = over.filter((unit) => unit.unit !== keep);
  const retired = fleet.leaving.filter((unit) => unit.retired && unit.ready === 0);
  const units = [...finished, ...retired].filter((unit) => !unit.leaving).map(toRemoval);
  return keep === undefined ? { units } : { units, nextAt: until };
}

function toRemoval(unit: UnitObservation): UnitAction {
  return { type: 'remove', unit: unit.unit };
}
