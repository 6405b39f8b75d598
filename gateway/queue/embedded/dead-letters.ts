// SPDX-License-Identifier: Apache-2.0
import type { DeadLetterFilter, DeadLetterPage, Redrive, RedriveOutcome } from '../lease-queue.ts';
import { orderScore } from '../order.ts';
import { toRecord } from '../stored-request.ts';
import { equalOf, insert } from './enqueueing.ts';
import { UNTRIED } from './request.ts';
import type { QueuedRequest } from './request.ts';
import { recordOf, requestOf } from './step.ts';
import type { Step } from './step.ts';
import { BODY } from './store.ts';

/** Looks at `limit` letters from the cursor on, oldest death first; bodies stay where they are. */
export function deadLetters(step: Step, filter: DeadLetterFilter, limit: number, cursor?: string): DeadLetterPage {
  const { tenant, kind, since = 0, until = Number.MAX_SAFE_INTEGER } = filter;
  const [time, after = ''] = cursor?.split(':') ?? [];
  const range = { tenant, since, until, diedAt: Number(time ?? -1), after };
  const found = step.store.letters(step.app.stored.uid, range, limit + 1);
  const page = found.slice(0, limit);
  const letters = page
    .map((request) => toRecord(request, undefined, undefined))
    .filter((one) => kind === undefined || one.cause?.kind === kind);
  const last = found.length > limit ? page.at(-1) : undefined;
  return { letters, ...(last === undefined ? {} : { cursor: `${last.finishedAt}:${last.id}` }) };
}

/** A new request with the letter's content, which leaves the list. */
export function redrive(step: Step, { id, newId, revision, share }: Redrive): RedriveOutcome {
  if (step.app.closed) return { kind: 'closed' };
  const letter = requestOf(step, id);
  if (letter?.redrivenAs !== undefined) {
    // The repeat of a call whose answer was lost, or a second person who redrives the same letter.
    const made = requestOf(step, letter.redrivenAs);
    return made === undefined ? { kind: 'unknown' } : { kind: 'redriven', record: recordOf(step, made) };
  }
  if (letter?.deadLetter !== true) return { kind: 'unknown' };
  const joined = equalOf(step, letter.fixed.dedupeKey)?.joined;
  if (joined !== undefined) {
    leaveList(step, letter, joined.id);
    return { kind: 'joined', record: recordOf(step, joined) };
  }
  const made = successor(step, letter, newId, revision);
  const entry = step.store.joinable(made.app, made.fixed.dedupeKey);
  letter.bodyMoved = true;
  leaveList(step, letter, newId);
  step.app.fair.admit(made.tenant, share);
  // Of a letter whose key another request has taken since, nobody knows what its fingerprint was.
  insert(step, made, step.store.payload(id, BODY), entry?.id === id ? entry.fingerprint : '');
  return { kind: 'redriven', record: recordOf(step, made) };
}

/** No deadline: it has passed, or it would soon, and someone wants the result all the same. */
function successor(step: Step, letter: QueuedRequest, id: string, revision: string): QueuedRequest {
  const { app, fixed, tenant, lane, maxAttempts, maxLosses, retentionMs } = letter;
  const seq = ++step.app.stored.seq;
  const score = orderScore(fixed.priority, undefined);
  const kept = { app, fixed, tenant, lane, maxAttempts, maxLosses, retentionMs };
  return { ...UNTRIED, ...kept, id, revision, deadline: 0, createdAt: step.now, seq, score, ended: [] };
}

/** Takes letters off the list; their number. */
export function discard(step: Step, ids: readonly string[]): number {
  const letters = ids.flatMap((id) => requestOf(step, id) ?? []).filter((one) => one.deadLetter);
  for (const letter of letters) leaveList(step, letter);
  return letters.length;
}

function leaveList(step: Step, letter: QueuedRequest, redrivenAs?: string): void {
  letter.deadLetter = false;
  if (redrivenAs !== undefined) letter.redrivenAs = redrivenAs;
  step.store.saveRequest(letter, 0);
  step.store.deleteLetter(letter);
}
