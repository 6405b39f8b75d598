// SPDX-License-Identifier: Apache-2.0
import { LOST_MESSAGE, MAX_ATTEMPTS_KEPT, MAX_MESSAGE_CHARS } from '../limits.ts';
import type { Cause, FinalState, Held, QueueEvent, RequestRecord } from '../lease-queue.ts';
import { toRecord } from '../stored-request.ts';
import type { AppState } from './app-state.ts';
import type { QueuedRequest } from './request.ts';
import { BODY, RESULT } from './store.ts';
import type { QueueStore } from './store.ts';

/** What one call works on: an app, the time, and where changes and events go. */
export interface Step {
  readonly store: QueueStore;
  readonly app: AppState;
  readonly now: number;
  emit(event: QueueEvent): void;
}

/** A running lease that this token holds. */
export function heldBy(step: Step, unit: string, held: Held): QueuedRequest | undefined {
  const request = step.app.live.get(held.id);
  return request?.state === 'leased' && matches(request, unit, held) ? request : undefined;
}

/** Both parts of the token must match, and the unit it was given to. */
export function matches(request: QueuedRequest, unit: string, held: Held): boolean {
  return (
    request.nonce !== '' &&
    request.nonce === held.token.nonce &&
    request.epoch === held.token.epoch &&
    request.unit === unit
  );
}

/** The request of this app, live or ended. */
export function requestOf(step: Step, id: string): QueuedRequest | undefined {
  const found = step.app.live.get(id) ?? step.store.request(id)?.request;
  return found?.app === step.app.stored.uid ? found : undefined;
}

export function recordOf(step: Step, request: QueuedRequest): RequestRecord {
  const body = request.fixed.body.key === undefined ? step.store.payload(request.id, BODY) : undefined;
  const result =
    request.result !== undefined && request.result.key === undefined
      ? step.store.payload(request.id, RESULT)
      : undefined;
  return toRecord(request, body, result);
}

/**
 * Takes the lease off its unit, writes the attempt into the timeline and charges what it took: nothing when it was given back. One that
 * was cancelled meanwhile has used its GPU all the same.
 */
export function endAttempt(step: Step, request: QueuedRequest, cause: Cause, until = step.now): void {
  const isFree = cause.kind === 'released' && !request.cancelRequested;
  dropLease(step, request, isFree ? 0 : elapsed(request, until));
  const { epoch, unit, leasedAt } = request;
  const message = cause.message.slice(0, MAX_MESSAGE_CHARS);
  request.ended = [...request.ended, { epoch, unit, leasedAt, endedAt: step.now, outcome: cause.kind, message }].slice(
    -MAX_ATTEMPTS_KEPT,
  );
}

/** µGPU-seconds from the lease to `until`. */
function elapsed(request: QueuedRequest, until: number): number {
  return Math.floor((Math.max(0, until - request.leasedAt) * request.fraction) / 1_000);
}

/** @param actual µGPU-seconds that the attempt took */
export function dropLease(step: Step, request: QueuedRequest, actual: number): void {
  const { app } = step;
  app.leases.delete(request.id);
  const unit = app.units.get(request.unit);
  if (unit !== undefined) {
    unit.leases--;
    if (request.losses > 0) unit.suspects--;
  }
  // Its tenant was at its cap: what waited behind that may be leased now.
  if (app.fair.discharge(request, actual)) step.emit({ type: 'ready', app: request.app });
}

/** Back to its original place; a cancelled request, or one of a closed app, ends here instead. */
export function requeue(step: Step, request: QueuedRequest): 'requeued' | 'cancelled' {
  if (request.cancelRequested || step.app.closed) {
    finish(step, request, 'cancelled');
    return 'cancelled';
  }
  request.state = 'queued';
  request.requeuedAt = step.now;
  step.app.queue(request);
  step.store.saveRequest(request, 0);
  step.emit({ type: 'ready', app: request.app });
  return 'requeued';
}

/** The request must be out of the pending work and of the leases. */
export function finish(step: Step, request: QueuedRequest, state: FinalState): void {
  request.state = state;
  request.finishedAt = step.now;
  request.cancelRequested = false;
  const freed = step.app.drop(request);
  step.store.saveRequest(request, 0);
  step.emit({ type: 'done', app: request.app, id: request.id });
  if (freed) step.emit({ type: 'ready', app: request.app });
}

/** The lease ran out. The token stays good for a late result until the request is leased again. */
function loseLease(step: Step, request: QueuedRequest, endedAt: number): void {
  endAttempt(step, request, { kind: 'lost', message: LOST_MESSAGE }, Math.min(step.now, endedAt));
  spendLoss(step, request);
}

/** Charges the loss; past the budget the request is a dead letter. */
export function spendLoss(step: Step, request: QueuedRequest): 'requeued' | 'cancelled' | 'failed' {
  request.losses++;
  if (request.cancelRequested || request.losses <= request.maxLosses) return requeue(step, request);
  return die(step, request);
}

/** A budget is spent. */
export function die(step: Step, request: QueuedRequest): 'failed' {
  request.deadLetter = true;
  step.app.noteDeadLetter();
  finish(step, request, 'failed');
  step.store.putLetter(request);
  return 'failed';
}

/** Ends up to `limit` leases that ran out. Their number. */
export function endOverdue(step: Step, limit: number): number {
  let ended = 0;
  while (ended < limit) {
    const due = step.app.leases.peek();
    if (due === undefined || due.at > step.now) break;
    loseLease(step, due.request, due.at);
    ended++;
  }
  return ended;
}
