// SPDX-License-Identifier: Apache-2.0
import { EXPIRE_STEP, TOMBSTONE_MS, UNIT_RECHECK_MS } from '../limits.ts';
import { endOverdue, finish } from './step.ts';
import type { Step } from './step.ts';

/** Moves up to `limit` requests of revisions without a unit to the current one, with their place kept. */
export function rekey(step: Step, current: string, limit: number): void {
  const { app } = step;
  const { pending } = app.fair;
  let left = limit;
  for (const revision of pending.revisions().sort()) {
    if (revision === current || app.units.live(revision) > 0) continue;
    for (const request of pending.ofRevision(revision, left)) {
      app.fair.remove(request);
      request.revision = current;
      app.fair.add(request);
      step.store.saveRequest(request, 0);
      left--;
    }
    if (left < limit) step.emit({ type: 'ready', app: step.app.stored.uid });
    if (left === 0) return;
  }
}

/** One step over one app. Answers when the next is due, and how many leases and deadlines it ended. */
export function expireApp(
  step: Step,
  current: string | undefined,
): { readonly expired: number; readonly nextAt: number | undefined } {
  if (step.app.fair.renormalise()) step.store.touch(step.app.stored.uid);
  const expired = endOverdue(step, EXPIRE_STEP) + endDeadlines(step, EXPIRE_STEP);
  forgetUnits(step, EXPIRE_STEP);
  if (current !== undefined && !step.app.closed) rekey(step, current, EXPIRE_STEP);
  if (current !== undefined) forgetEstimates(step, current);
  step.app.fair.forgetPassed();
  return { expired, nextAt: nextAt(step, current) };
}

function endDeadlines(step: Step, limit: number): number {
  let ended = 0;
  for (; ended < limit; ended++) {
    const due = step.app.deadlines.peek();
    if (due === undefined || due.at > step.now) break;
    step.app.unqueue(due.request);
    finish(step, due.request, 'expired');
  }
  return ended;
}

function forgetUnits(step: Step, limit: number): void {
  const { units, stored } = step.app;
  for (let i = 0; i < limit; i++) {
    const unit = units.nextForgotten();
    if (unit === undefined || unit.forgetAt > step.now) return;
    if (unit.leases > 0) {
      // Its leases run out by themselves; only then it may go.
      units.postpone(unit, step.now + UNIT_RECHECK_MS);
      continue;
    }
    units.forget(unit);
    step.store.deleteUnit(stored.uid, unit.unit);
  }
}

/** Of the current revision they outlive its units: scale to zero must not cost what was learned. */
function forgetEstimates({ app, store }: Step, current: string): void {
  for (const revision of app.estimates.revisions()) {
    if (revision === current || app.units.live(revision) > 0) continue;
    if (app.fair.pending.get('online', revision) ?? app.fair.pending.get('batch', revision)) continue;
    app.estimates.forget(revision);
    store.touch(app.stored.uid);
    store.fair.deleteEstimates(app.stored.uid, revision);
  }
}

function nextAt(step: Step, current: string | undefined): number | undefined {
  const { app } = step;
  const times = [
    app.leases.peek()?.at,
    app.deadlines.peek()?.at,
    app.units.nextForgotten()?.forgetAt,
    app.stored.phase === 2 ? app.stored.phaseAt + TOMBSTONE_MS : undefined,
  ];
  const stranded =
    current !== undefined &&
    !app.closed &&
    app.fair.pending.revisions().some((revision) => revision !== current && app.units.live(revision) === 0);
  if (stranded) times.push(step.now);
  const known = times.filter((time) => time !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}
