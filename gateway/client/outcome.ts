// SPDX-License-Identifier: Apache-2.0
import type { OutgoingHttpHeaders } from 'node:http';
import type { ProblemError } from '#base/problem.ts';
import { gatewayError } from '../errors.ts';
import { answerJson } from '../http/answer.ts';
import type { Exchange } from '../http/exchange.ts';
import type { ToldOutcome } from '../queue/request-outcome.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { Preference } from './prefer.ts';
import { answerResult } from './result.ts';

/** Until the ETA is measured (DESIGN §3.4) a client is asked back after this. */
const RETRY_AFTER_SECONDS = 1;

/** What an answer about one request needs beside its record. */
export interface OutcomeContext {
  readonly store: ObjectStore;
  readonly ticket: string;
  /** As the client wrote it in the path. */
  readonly appName: string;
  readonly preference: Preference;
}

/**
 * The answer that a request's state calls for: 200 with the result, 202, or the problem that ended it.
 * @throws ProblemError
 */
export async function answerOutcome(x: Exchange, record: ToldOutcome, context: OutcomeContext): Promise<void> {
  const { store, preference } = context;
  const headers: OutgoingHttpHeaders = {
    ...x.rate,
    'penstock-state': record.state,
    'penstock-ticket': context.ticket,
    ...(preference.applied === undefined ? {} : { 'preference-applied': preference.applied }),
  };
  if (record.state === 'succeeded') return await answerResult(x, record, store, headers);
  if (record.state === 'queued' || record.state === 'leased') return answerPending(x, context, headers);
  throw endedBadly(record, headers);
}

function answerPending(x: Exchange, { ticket, appName }: OutcomeContext, headers: OutgoingHttpHeaders): void {
  answerJson(
    x,
    202,
    { ticket, retry_after: RETRY_AFTER_SECONDS },
    {
      ...headers,
      location: `/v1/${appName}/status/${ticket}`,
      'retry-after': String(RETRY_AFTER_SECONDS),
      'cache-control': 'no-store',
    },
  );
}

/** A failure of the request is never a 502, 503 or 504: those speak of the gateway, and retries by proxies would follow. */
function endedBadly(record: ToldOutcome, given: OutgoingHttpHeaders): ProblemError {
  const headers = Object.fromEntries(Object.entries(given).map(([name, value]) => [name, String(value)]));
  const facts = { headers, state: record.state, attempts: record.attempts.length };
  if (record.state === 'cancelled') {
    return gatewayError('cancelled', record.cause?.message ?? 'the request was cancelled', {
      ...facts,
      field: 'path.ticket',
      fix: 'send the request again if its result is wanted after all',
    });
  }
  if (record.state === 'expired') {
    return gatewayError('deadline-passed', 'the deadline passed before a worker could take the request', {
      ...facts,
      field: 'path.ticket',
      fix: 'send the request again with a later deadline',
    });
  }
  const { kind = 'handler', message = 'no cause was recorded' } = record.cause ?? {};
  const code = kind === 'input' ? 'input-refused' : 'handler-failed';
  return gatewayError(code, message, {
    ...facts,
    cause_kind: kind,
    dead_letter: record.deadLetter,
    ...(kind === 'input' ? { field: 'body' } : {}),
    fix:
      kind === 'input'
        ? 'correct the input and send it again'
        : 'see the attempts of the request; send it again when the cause is gone',
  });
}

export function resultExpired(): ProblemError {
  return gatewayError('result-expired', 'the request ended and was kept for resultRetentionSeconds', {
    field: 'path.ticket',
    fix: 'send the request again; fetch results sooner or raise spec.request.resultRetentionSeconds',
  });
}
