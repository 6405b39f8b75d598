// SPDX-License-Identifier: Apache-2.0
import type { EnqueueOutcome, NewRequest } from '../lease-queue.ts';
import { orderScore } from '../order.ts';
import { fixedPart } from '../stored-request.ts';
import type { StoredRequest } from '../stored-request.ts';
import { recordOf } from './step.ts';
import type { Step } from './step.ts';
import { BODY } from './store.ts';

export function enqueue(step: Step, request: NewRequest): EnqueueOutcome {
  if (step.app.closed) return { kind: 'closed' };
  const same = stored(step, request.id);
  // The repeat of a call whose answer was lost.
  if (same !== undefined) return { kind: 'queued', record: recordOf(step, same) };
  const uid = step.app.stored.uid;
  const earlier = step.store.joinable(uid, request.dedupeKey);
  const joined = earlier === undefined ? undefined : stored(step, earlier.id);
  if (earlier !== undefined && joined !== undefined && joins(joined, step.now)) {
    // The body that was stored for this request serves nobody now.
    if (request.body.key !== undefined && request.body.key !== joined.fixed.body.key)
      step.store.doom(uid, request.body.key, step.now);
    const differs =
      request.fingerprint !== undefined && earlier.fingerprint !== '' && request.fingerprint !== earlier.fingerprint;
    return differs ? { kind: 'conflict', id: earlier.id } : { kind: 'joined', record: recordOf(step, joined) };
  }
  return { kind: 'queued', record: recordOf(step, insert(step, request)) };
}

/** Neither one that is being cancelled, whose result nobody will get, nor one past its retention, which may go at any moment. */
function joins(request: StoredRequest, now: number): boolean {
  if (request.cancelRequested) return false;
  if (request.state === 'succeeded') return request.finishedAt + request.retentionMs > now;
  return request.state === 'queued' || request.state === 'leased';
}

function stored(step: Step, id: string): StoredRequest | undefined {
  const found = step.app.live.get(id) ?? step.store.request(id)?.request;
  return found?.app === step.app.stored.uid ? found : undefined;
}

function insert(step: Step, request: NewRequest): StoredRequest {
  const { app } = step;
  app.stored.seq++;
  const made: StoredRequest = {
    id: request.id,
    app: request.app,
    fixed: fixedPart(request),
    tenant: request.tenant,
    lane: request.lane,
    deadline: request.deadline ?? 0,
    maxAttempts: request.retry.maxAttempts,
    maxLosses: request.retry.maxLosses,
    retentionMs: request.retentionMs,
    createdAt: step.now,
    seq: app.stored.seq,
    score: orderScore(request.priority, request.deadline),
    revision: request.revision,
    state: 'queued',
    epoch: 0,
    nonce: '',
    unit: '',
    leasedAt: 0,
    failures: 0,
    losses: 0,
    cancelRequested: false,
    deadLetter: false,
    finishedAt: 0,
    serviceMicros: 0,
    ended: [],
  };
  step.store.saveApp(app.stored);
  step.store.insertRequest(made);
  step.store.putPayload(made.id, BODY, request.body.inline);
  // The first time this call came it may have joined a request that has ended badly since: its body has an owner after all.
  if (request.body.key !== undefined) step.store.deleteObject(request.app, request.body.key);
  step.store.putJoinable(app.stored.uid, request.dedupeKey, made.id, request.fingerprint ?? '');
  app.live.set(made.id, made);
  app.queue(made);
  step.emit({ type: 'ready', app: app.stored.uid });
  return made;
}
