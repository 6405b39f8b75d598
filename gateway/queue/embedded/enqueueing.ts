// SPDX-License-Identifier: Apache-2.0
import type { EnqueueOutcome, NewRequest } from '../lease-queue.ts';
import { orderScore } from '../order.ts';
import { fixedPart } from '../stored-request.ts';
import { UNTRIED } from './request.ts';
import type { QueuedRequest } from './request.ts';
import { recordOf, requestOf } from './step.ts';
import type { Step } from './step.ts';
import { BODY } from './store.ts';

export function enqueue(step: Step, request: NewRequest): EnqueueOutcome {
  if (step.app.closed) return { kind: 'closed' };
  const same = requestOf(step, request.id);
  // The repeat of a call whose answer was lost.
  if (same !== undefined) return { kind: 'queued', record: recordOf(step, same) };
  const uid = step.app.stored.uid;
  const earlier = equalOf(step, request.dedupeKey);
  if (earlier !== undefined) {
    const { joined, fingerprint } = earlier;
    // The body that was stored for this request serves nobody now.
    if (request.body.key !== undefined && request.body.key !== joined.fixed.body.key)
      step.store.doom(uid, request.body.key, step.now);
    const differs = request.fingerprint !== undefined && fingerprint !== '' && request.fingerprint !== fingerprint;
    return differs ? { kind: 'conflict', id: joined.id } : { kind: 'joined', record: recordOf(step, joined) };
  }
  const { tenant, freed } = step.app.fair.admit(request.tenant, request.share);
  if (freed) step.emit({ type: 'ready', app: uid });
  if (tenant.queued >= tenant.maxQueued) {
    const full = { kind: 'full', queued: tenant.queued, limit: tenant.maxQueued } as const;
    step.app.fair.ended(tenant.name);
    return full;
  }
  const made = newRequest(step, request);
  insert(step, made, request.body.inline, request.fingerprint ?? '');
  return { kind: 'queued', record: recordOf(step, made) };
}

/** The request that an equal one joins. */
export function equalOf(
  step: Step,
  dedupeKey: string,
): { readonly joined: QueuedRequest; readonly fingerprint: string } | undefined {
  const entry = step.store.joinable(step.app.stored.uid, dedupeKey);
  const joined = entry === undefined ? undefined : requestOf(step, entry.id);
  if (entry === undefined || joined === undefined || !joins(joined, step.now)) return undefined;
  return { joined, fingerprint: entry.fingerprint };
}

/** Neither one that is being cancelled, whose result nobody will get, nor one past its retention, which may go at any moment. */
function joins(request: QueuedRequest, now: number): boolean {
  if (request.cancelRequested) return false;
  if (request.state === 'succeeded') return request.finishedAt + request.retentionMs > now;
  return request.state === 'queued' || request.state === 'leased';
}

function newRequest(step: Step, request: NewRequest): QueuedRequest {
  return {
    ...UNTRIED,
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
    seq: ++step.app.stored.seq,
    score: orderScore(request.priority, request.deadline),
    revision: request.revision,
    ended: [],
  };
}

/** Takes a request in for which its tenant was admitted. */
export function insert(step: Step, made: QueuedRequest, inline: Uint8Array | undefined, fingerprint: string): void {
  const { app, store } = step;
  const { key } = made.fixed.body;
  store.insertRequest(made);
  store.putPayload(made.id, BODY, inline);
  // The first time this call came it may have joined a request that has ended badly since: its body has an owner after all.
  if (key !== undefined) store.deleteObject(made.app, key);
  store.putJoinable(made.app, made.fixed.dedupeKey, made.id, fingerprint);
  app.live.set(made.id, made);
  app.queue(made);
  step.emit({ type: 'ready', app: made.app });
}
