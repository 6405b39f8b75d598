// SPDX-License-Identifier: Apache-2.0
import { gatewayError, queueUnavailable } from '../errors.ts';
import { answerJson } from '../http/answer.ts';
import type { Exchange } from '../http/exchange.ts';
import type { Attempt, Payload, RequestRecord } from '../queue/lease-queue.ts';
import type { ClientContext } from './context.ts';
import { claim, find } from './status.ts';

/** GET /v1/{app}/requests/{id}: the record, its attempts included. @throws ProblemError */
export async function showRequest(x: Exchange, context: ClientContext, appName: string, ticket: string): Promise<void> {
  const claimed = await claim(x, context, appName, ticket);
  const record = await find(x, context, claimed, 0);
  answerJson(x, 200, view(record, ticket, appName), { 'penstock-state': record.state, 'cache-control': 'no-store' });
}

/**
 * DELETE /v1/{app}/requests/{id}: 200 when it is cancelled, 202 when a worker still has to hear of it.
 * A request that several clients have joined is cancelled for all of them. @throws ProblemError 409 when it has ended otherwise
 */
export async function cancelRequest(
  x: Exchange,
  context: ClientContext,
  appName: string,
  ticket: string,
): Promise<void> {
  const claimed = await claim(x, context, appName, ticket);
  const outcome = await context.queue.cancel(claimed.app.uid, claimed.id).catch((err: unknown) => {
    throw queueUnavailable(err);
  });
  const record = await find(x, context, claimed, 0);
  if (outcome === 'final' && record.state !== 'cancelled') {
    throw gatewayError('already-final', `the request has ended as ${record.state}`, {
      field: 'path.ticket',
      state: record.state,
      fix: 'nothing is left to cancel',
    });
  }
  answerJson(x, outcome === 'cancelling' ? 202 : 200, view(record, ticket, appName), {
    'penstock-state': record.state,
    'cache-control': 'no-store',
  });
}

/** The record as clients see it: snake_case, RFC 3339 times, no body and no dedupe key. */
function view(record: RequestRecord, ticket: string, appName: string): Record<string, unknown> {
  return {
    id: ticket,
    app: appName,
    state: record.state,
    lane: record.lane,
    priority: record.priority,
    revision: record.revision,
    created_at: time(record.createdAt),
    deadline: time(record.deadline),
    finished_at: time(record.finishedAt),
    cancel_requested: record.cancelRequested,
    body: payload(record.body),
    result: record.result && payload(record.result),
    cause: record.cause,
    dead_letter: record.deadLetter,
    failures: record.failures,
    losses: record.losses,
    service_micros: record.serviceMicros,
    attempts: record.attempts.map(attempt),
    traceparent: record.traceparent,
  };
}

function attempt({ epoch, unit, leasedAt, endedAt, outcome, message }: Attempt): Record<string, unknown> {
  return { attempt: epoch, unit, leased_at: time(leasedAt), ended_at: time(endedAt), outcome, message };
}

function payload({ contentType, contentEncoding, bytes }: Payload): Record<string, unknown> {
  return { content_type: contentType, content_encoding: contentEncoding, bytes };
}

function time(ms: number | undefined): string | undefined {
  return ms === undefined ? undefined : new Date(ms).toISOString();
}
