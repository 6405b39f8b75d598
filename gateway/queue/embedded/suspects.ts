// SPDX-License-Identifier: Apache-2.0
import { DRAIN_SILENT_MS, SUSPECT_PAGE, SUSPECT_PATIENCE_MS, SUSPECT_SCAN } from '../limits.ts';
import type { Lane } from '../lease-queue.ts';
import { mayRun } from './fair-queue.ts';
import type { Place } from './pending.ts';
import type { QueuedRequest } from './request.ts';
import { finish } from './step.ts';
import type { Step } from './step.ts';
import type { Tenant } from './tenants.ts';
import type { Unit } from './units.ts';

/** The first of this revision whose tenant passes. @param passed gets those whose deadline is over */
function nextSuspect(
  step: Step,
  revision: string,
  lanes: readonly Lane[],
  passes: (tenant: Tenant) => boolean,
  passed?: QueuedRequest[],
): QueuedRequest | undefined {
  const { fair } = step.app;
  for (const lane of lanes) {
    for (const one of inOrder(fair.pending.get(lane, revision))) {
      const tenant = fair.tenant(one.tenant);
      if (one.deadline > 0 && one.deadline <= step.now) passed?.push(one);
      else if (tenant !== undefined && passes(tenant)) return one;
    }
  }
  return undefined;
}

/** Those behind the first page are only looked at when all of it is held up. */
function* inOrder(place: Place | undefined): Iterable<QueuedRequest> {
  if (place === undefined) return;
  const { suspects } = place;
  yield* suspects.first(SUSPECT_PAGE);
  if (suspects.size > SUSPECT_PAGE) yield* suspects.first(SUSPECT_SCAN).slice(SUSPECT_PAGE);
}

/** Its cap alone may hold up its suspects, and only for a while. */
function everRuns(tenant: Tenant): boolean {
  return tenant.maxInFlight > 0;
}

/** The suspect that an empty unit of this revision is given; expires what is past its deadline on the way. */
export function takeSuspect(step: Step, revision: string, lanes: readonly Lane[]): QueuedRequest | undefined {
  const passed: QueuedRequest[] = [];
  const found = nextSuspect(step, revision, lanes, mayRun, passed);
  for (const one of passed) {
    step.app.unqueue(one);
    finish(step, one, 'expired');
  }
  return found;
}

/**
 * Whether the unit is given nothing so that it becomes empty for a suspect: one unit of the app at a time, and only once a suspect has
 * waited for long in vain for a unit that happens to be empty. What was begun goes on when its tenant reaches its cap meanwhile.
 */
export function isDrained(step: Step, unit: Unit, lanes: readonly Lane[]): boolean {
  const { fair } = step.app;
  if (unit.leases === 0 || unit.suspects > 0) {
    if (fair.drain === unit.unit) setDrain(step, '');
    return false;
  }
  const suspect = nextSuspect(step, unit.revision, lanes, fair.drain === unit.unit ? everRuns : mayRun);
  if (fair.drain === unit.unit) {
    if (suspect !== undefined) return true;
    setDrain(step, '');
    return false;
  }
  if (suspect === undefined || step.now - suspect.requeuedAt < SUSPECT_PATIENCE_MS || hasDrain(step)) return false;
  setDrain(step, unit.unit);
  return true;
}

function setDrain({ app, store }: Step, unit: string): void {
  app.fair.drain = unit;
  store.touch(app.stored.uid);
}

function hasDrain(step: Step): boolean {
  const unit = step.app.units.get(step.app.fair.drain);
  return unit !== undefined && !unit.retired && step.now - unit.lastSeenAt < DRAIN_SILENT_MS;
}
