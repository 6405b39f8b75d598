// SPDX-License-Identifier: Apache-2.0
import { LOST_MESSAGE, MAX_ATTEMPTS_KEPT, MAX_MESSAGE_CHARS } from '../limits.ts';
import type { Cause, FinalState, Held, QueueEvent, RequestRecord } from '../lease-queue.ts';
import { toRecord } from '../stored-request.ts';
import type { StoredRequest } from '../stored-request.ts';
import type { AppState } from './app-state.ts';
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
export function heldBy(step: Step, unit: string, held: Held): StoredRequest | undefined {
  const request = step.app.live.get(held.id);
  return request?.state === 'leased' && matches(request, unit, held) ? request : undefined;
}

/** Both parts of the token must match, and the unit it was given to. */
export function matches(request: StoredRequest, unit: string, held: Held): boolean {
  return (
    request.nonce !== '' &&
    request.nonce === held.token.nonce &&
    request.epoch === held.token.epoch &&
    request.unit === unit
  );
}

export function recordOf(step: Step, request: StoredRequest): RequestRecord {
  const body = request.fixed.body.key === undefined ? step.store.payload(request.id, BODY) : undefined;
  const result =
    request.result !== undefined && request.result.key === undefined
      ? step.store.payload(request.id, RESULT)
      : undefined;
  return toRecord(request, body, result);
}

/** Takes the lease off its unit and writes the attempt into the timeline. */
export function endAttempt(step: Step, request: StoredRequest, cause: Cause): void {
  dropLease(step, request);
  const { epoch, unit, leasedAt } = request;
  const message = cause.message.slice(0, MAX_MESSAGE_CHARS);
  request.ended = [...request.ended, { epoch, unit, leasedAt, endedAt: step.now, outcome: cause.kind, message }].slice(
    -MAX_ATTEMPTS_KEPT,
  );
}

export function dropLease(step: Step, request: StoredRequest): void {
  step.app.leases.delete(request.id);
  const unit = step.app.units.get(request.unit);
  if (unit !== undefined) unit.leases--;
}

/** Back to its original place; a cancelled request, or one of a closed app, ends here instead. */
export function requeue(step: Step, request: StoredRequest): 'requeued' | 'cancelled' {
  if (request.cancelRequested || step.app.closed) {
    finish(step, request, 'cancelled');
    return 'cancelled';
  }
  request.state = 'queued';
  step.app.queue(request);
  step.store.saveRequest(request, 0);
  step.emit({ type: 'ready', app: request.app });
  return 'requeued';
}

/** The request must be out of the pending work and of the leases. */
export function finish(step: Step, request: StoredRequest, state: FinalState): void {
  request.state = state;
  request.finishedAt = step.now;
  request.cancelRequested = false;
  step.app.live.delete(request.id);
  step.store.saveRequest(request, 0);
  step.emit({ type: 'done', app: request.app, id: request.id });
}

/** The lease ran out. The token stays good for a late result until the request is leased again. */
export function loseLease(step: Step, request: StoredRequest): void {
  endAttempt(step, request, { kind: 'lost', message: LOST_MESSAGE });
  spendLoss(step, request);
}

/** Charges the loss; past the budget the request is a dead letter. */
export function spendLoss(step: Step, request: StoredRequest): 'requeued' | 'cancelled' | 'failed' {
  request.losses++;
  if (request.cancelRequested || request.losses <= request.maxLosses) return requeue(step, request);
  return die(step, request);
}

/** A budget is spent. */
export function die(step: Step, request: StoredRequest): 'failed' {
  request.deadLetter = true;
  step.app.noteDeadLetter();
  finish(step, request, 'failed');
  return 'failed';
}

/** Ends up to `limit` leases that ran out. Their number. */
export function endOverdue(step: Step, limit: number): number {
  let ended = 0;
  while (ended < limit) {
    const due = step.app.leases.peek();
    if (due === undefined || due.at > step.now) break;
    loseLease(step, due.request);
    ended++;
  }
  return ended;
}
