// SPDX-License-Identifier: Apache-2.0
import type { Commit } from '../commits.ts';
import type { CancelOutcome, Completion, ExtendOutcome, FailOutcome, Failure, Held } from '../lease-queue.ts';
import { CANCELLED_MESSAGE } from '../limits.ts';
import { gpuTime, serviceTime } from '../order.ts';
import { payloadMeta } from '../stored-request.ts';
import type { QueuedRequest } from './request.ts';
import { die, dropLease, endAttempt, finish, heldBy, matches, requestOf, requeue, spendLoss } from './step.ts';
import type { Step } from './step.ts';
import { RESULT } from './store.ts';

export function extend(step: Step, unit: string, held: readonly Held[], leaseMs: number): ExtendOutcome[] {
  const known = step.app.units.get(unit);
  if (known === undefined || known.retired) return held.map(({ id }) => ({ id, ok: false }));
  step.app.units.touch(known, step.now);
  step.store.saveUnit(step.app.stored.uid, known);
  return held.map((one) => extendOne(step, unit, one, leaseMs));
}

function extendOne(step: Step, unit: string, held: Held, leaseMs: number): ExtendOutcome {
  const request = heldBy(step, unit, held);
  if (request === undefined) return { id: held.id, ok: false };
  const expiresAt = step.now + leaseMs;
  step.app.leases.put({ request, at: expiresAt });
  step.store.saveRequest(request, expiresAt);
  return { id: held.id, ok: true, expiresAt, ...(request.cancelRequested ? { cancel: true } : {}) };
}

export function complete(step: Step, unit: string, done: Completion): Commit {
  const live = step.app.live.get(done.id);
  if (live === undefined) return repeated(step, unit, done);
  if (!matches(live, unit, done)) return 'lost';
  const service = serviceTime(done.serviceMicros);
  const actual = gpuTime(service, live.fraction);
  if (live.state === 'queued') {
    // The lease ran out and nobody has it yet: the work is done, so it leaves the queue.
    step.app.unqueue(live);
    step.app.fair.correct(live, actual);
  } else if (live.cancelRequested) {
    endAttempt(step, live, { kind: 'released', message: CANCELLED_MESSAGE });
    finish(step, live, 'cancelled');
    return 'cancelled';
  } else {
    dropLease(step, live, actual);
  }
  live.result = payloadMeta(done.result);
  live.serviceMicros = service;
  learn(step, live);
  step.store.putPayload(live.id, RESULT, done.result.inline);
  finish(step, live, 'succeeded');
  return 'committed';
}

function learn({ app, store }: Step, { revision, fixed, serviceMicros }: QueuedRequest): void {
  for (const [size, micros] of app.estimates.teach(revision, fixed.body.bytes, serviceMicros))
    store.fair.saveEstimate(app.stored.uid, revision, size, micros);
}

/** The request is final: the same call again, a cancel that came first, or a token that is none. */
function repeated(step: Step, unit: string, done: Completion): Commit {
  const request = requestOf(step, done.id);
  if (request === undefined || !matches(request, unit, done)) return 'lost';
  if (request.state === 'succeeded') return 'repeated';
  return request.state === 'cancelled' ? 'cancelled' : 'lost';
}

export function fail(step: Step, unit: string, failure: Failure): FailOutcome {
  const { cause } = failure;
  const request = heldBy(step, unit, failure);
  if (request === undefined) return 'lost';
  endAttempt(step, request, cause);
  request.nonce = '';
  if (cause.kind === 'released') return requeue(step, request);
  if (cause.kind === 'lost') return spendLoss(step, request);
  request.failures++;
  if (request.cancelRequested) return requeue(step, request);
  if (cause.kind !== 'input' && request.failures < request.maxAttempts) return requeue(step, request);
  if (cause.kind !== 'input') return die(step, request);
  finish(step, request, 'failed');
  return 'failed';
}

export function release(step: Step, unit: string, held: Held): 'requeued' | 'lost' | 'cancelled' {
  const request = heldBy(step, unit, held);
  if (request === undefined) return 'lost';
  endAttempt(step, request, { kind: 'released', message: '' });
  request.nonce = '';
  return requeue(step, request);
}

export function cancel(step: Step, id: string): CancelOutcome {
  const live = step.app.live.get(id);
  if (live === undefined) return requestOf(step, id) === undefined ? 'unknown' : 'final';
  if (live.state === 'queued') {
    step.app.unqueue(live);
    finish(step, live, 'cancelled');
    return 'cancelled';
  }
  if (!live.cancelRequested) {
    live.cancelRequested = true;
    step.store.saveRequest(live, step.app.leases.get(live.id)?.at ?? step.now);
  }
  return 'cancelling';
}
