// SPDX-License-Identifier: Apache-2.0
import { uuid7Time } from '#base/uuid7.ts';
import type { PurgeStep, SweepStep } from '../lease-queue.ts';
import { EMBEDDED_SWEEP_RECORDS, OBJECT_GRACE_MS, OVERDUE_STEP, REOFFER_MS } from '../limits.ts';
import type { QueuedRequest } from './request.ts';
import { endOverdue, finish } from './step.ts';
import type { Step } from './step.ts';
import type { QueueStore, StoredObjectKey } from './store.ts';

/** Removes records past their retention and judges noted objects; answers keys to delete, each again after a while unless forgotten. */
export function sweep(store: QueueStore, limit: number, now: number): SweepStep {
  const ids = store.pastRetention(now, EMBEDDED_SWEEP_RECORDS);
  for (const id of ids) {
    const request = store.request(id)?.request;
    if (request !== undefined && hasHeir(store, request)) {
      store.retain(id, now + OBJECT_GRACE_MS);
      continue;
    }
    if (request !== undefined) store.noteSwept(request.app, uuid7Time(id) ?? 0);
    remove(store, request, now);
  }
  const undecided = store.undecided(now, limit);
  for (const object of undecided) judge(store, object, now);
  const keys = offer(store, store.doomed(now, limit), now);
  return { keys, more: ids.length === EMBEDDED_SWEEP_RECORDS || undecided.length === limit || keys.length === limit };
}

/** A letter whose body went over to another request: that one's object bears the letter's name, and only the letter says who has it now. */
function hasHeir(store: QueueStore, { bodyMoved, redrivenAs }: QueuedRequest): boolean {
  return bodyMoved && redrivenAs !== undefined && store.request(redrivenAs) !== undefined;
}

function remove(store: QueueStore, request: QueuedRequest | undefined, now: number): void {
  if (request === undefined) return;
  for (const key of [request.bodyMoved ? undefined : request.fixed.body.key, request.result?.key])
    if (key !== undefined) store.doom(request.app, key, now);
  store.deleteRequest(request);
}

/** Kept while its attempt may still commit it; the record's own once it has; else nobody's. */
function judge(store: QueueStore, object: StoredObjectKey, now: number): void {
  const request = store.request(object.id)?.request;
  if (request?.result?.key === object.key) store.deleteObject(object.app, object.key);
  else if (request?.finishedAt === 0 && request.epoch === object.epoch) store.noteObject(object, now + OBJECT_GRACE_MS);
  else store.doom(object.app, object.key, now);
}

function offer(store: QueueStore, objects: readonly StoredObjectKey[], now: number): string[] {
  for (const object of objects) store.doom(object.app, object.key, now + REOFFER_MS);
  return objects.map((object) => object.key);
}

/** One step of removing an app: close, cancel what is queued, wait for leases, then records, then keys, then the app itself. */
export function purge(step: Step, limit: number): PurgeStep {
  const { app, store, now } = step;
  if (app.stored.phase === 2) return { done: true, orphans: [] };
  if (app.stored.phase === 0) setPhase(step, 1);
  endOverdue(step, OVERDUE_STEP);
  if (cancelQueued(step, limit) > 0) return { done: false, orphans: [] };
  if (app.leases.size > 0) return { done: false, orphans: [], waiting: true };
  for (const id of store.requestsOf(app.stored.uid, limit)) remove(store, store.request(id)?.request, now);
  const orphans = offer(store, store.objectsOf(app.stored.uid, limit), now);
  if (orphans.length > 0 || store.requestsOf(app.stored.uid, 1).length > 0) return { done: false, orphans };
  store.deleteUnitsOf(app.stored.uid);
  store.fair.deleteEstimates(app.stored.uid);
  app.forgetUnits();
  for (const revision of app.estimates.revisions()) app.estimates.forget(revision);
  setPhase(step, 2);
  return { done: true, orphans: [] };
}

function cancelQueued(step: Step, limit: number): number {
  let cancelled = 0;
  for (const revision of step.app.fair.pending.revisions()) {
    for (const request of step.app.fair.pending.ofRevision(revision, limit - cancelled)) {
      step.app.unqueue(request);
      finish(step, request, 'cancelled');
      cancelled++;
    }
  }
  return cancelled;
}

function setPhase(step: Step, phase: 1 | 2): void {
  step.app.stored.phase = phase;
  step.app.stored.phaseAt = step.now;
  step.store.touch(step.app.stored.uid);
  // Units that wait for work hear that they may leave.
  step.emit({ type: 'ready', app: step.app.stored.uid });
}
