// SPDX-License-Identifier: Apache-2.0
// Records as clients see them: snake_case, RFC 3339 times, no body and no dedupe key.
import type { Attempt, Payload, RequestRecord } from '../queue/lease-queue.ts';
import type { Tickets } from '../tickets/ticket.ts';

export interface ViewContext {
  readonly ticket: string;
  /** As the caller wrote it in the path. */
  readonly appName: string;
  readonly tickets: Pick<Tickets, 'mint'>;
}

export function requestView(record: RequestRecord, context: ViewContext): Record<string, unknown> {
  return {
    id: context.ticket,
    app: context.appName,
    state: record.state,
    lane: record.lane,
    priority: record.priority,
    cost_micros: record.cost === 0 ? undefined : record.cost,
    revision: record.revision,
    created_at: time(record.createdAt),
    deadline: time(record.deadline),
    finished_at: time(record.finishedAt),
    cancel_requested: record.cancelRequested,
    body: payload(record.body),
    result: record.result && payload(record.result),
    cause: record.cause,
    dead_letter: record.deadLetter,
    redriven_as: redrivenAs(record, context),
    failures: record.failures,
    losses: record.losses,
    service_micros: record.serviceMicros,
    attempts: record.attempts.map(attempt),
    traceparent: record.traceparent,
  };
}

/** A dead letter for whoever looks after the app: whose it is, what it died of, and a reference to its body, never the body. */
export function deadLetterView(record: RequestRecord, context: ViewContext): Record<string, unknown> {
  return {
    id: context.ticket,
    request: record.id,
    app: context.appName,
    tenant: record.tenant,
    lane: record.lane,
    priority: record.priority,
    revision: record.revision,
    created_at: time(record.createdAt),
    died_at: time(record.finishedAt),
    cause: record.cause,
    failures: record.failures,
    losses: record.losses,
    retry: { max_attempts: record.retry.maxAttempts, max_losses: record.retry.maxLosses },
    attempts: record.attempts.map(attempt),
    body: payload(record.body),
    redriven_as: redrivenAs(record, context),
    traceparent: record.traceparent,
  };
}

function redrivenAs({ app, tenant, redrivenAs: id }: RequestRecord, { tickets }: ViewContext): string | undefined {
  return id === undefined ? undefined : tickets.mint({ appUid: app, tenant }, id);
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
