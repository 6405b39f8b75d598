// SPDX-License-Identifier: Apache-2.0
import type { LivePage, Payload } from '../lease-queue.ts';
import { payloadMeta, toRecord } from '../stored-request.ts';
import { dropLease, finish } from './step.ts';
import type { Step } from './step.ts';
import { RESULT } from './store.ts';

/** Queued and leased requests in the order of their ids. */
export function live(step: Step, limit: number, cursor = ''): LivePage {
  const found = step.store.liveOf(step.app.stored.uid, limit, cursor);
  const last = found.length < limit ? undefined : found.at(-1)?.id;
  const records = found.map((request) => toRecord(request, undefined, undefined));
  return { records, ...(last === undefined ? {} : { cursor: last }) };
}

/** The work was done, though the queue has forgotten that: nobody knows how long it took, so the charge stays and nothing is learned. */
export function salvage(step: Step, id: string, result: Payload): 'committed' | 'lost' {
  const request = step.app.live.get(id);
  if (request === undefined) return 'lost';
  if (request.state === 'leased') dropLease(step, request, request.charged);
  else step.app.unqueue(request);
  if (request.cancelRequested) {
    finish(step, request, 'cancelled');
    return 'lost';
  }
  request.result = payloadMeta(result);
  step.store.putPayload(id, RESULT, result.inline);
  finish(step, request, 'succeeded');
  return 'committed';
}
