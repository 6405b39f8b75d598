// SPDX-License-Identifier: Apache-2.0
import { callerOf } from '../audit.ts';
import { gatewayError, queueUnavailable } from '../errors.ts';
import { answerJson } from '../http/answer.ts';
import type { Exchange } from '../http/exchange.ts';
import type { CancelOutcome } from '../queue/lease-queue.ts';
import type { ClientContext } from './context.ts';
import { claim, find } from './status.ts';
import { requestView } from './view.ts';

/** GET /v1/{app}/requests/{id}: the record, its attempts included. @throws ProblemError */
export async function showRequest(x: Exchange, context: ClientContext, appName: string, ticket: string): Promise<void> {
  const claimed = await claim(x, context, appName, ticket);
  const record = await find(context, claimed);
  answerJson(x, 200, requestView(record, { ticket, appName, tickets: context.tickets }), {
    'penstock-state': record.state,
    'cache-control': 'no-store',
  });
}

/** States before and after, as far as a cancel changes any. */
const CHANGES: Readonly<Record<CancelOutcome, { readonly before?: string; readonly after?: string }>> = {
  cancelled: { before: 'queued', after: 'cancelled' },
  cancelling: { before: 'leased', after: 'leased, to be cancelled' },
  final: {},
  unknown: {},
};

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
  context.audit.record({
    ...callerOf(x, claimed.tenant),
    action: 'request.cancel',
    object: { app: claimed.app.uid, request: claimed.id },
    result: outcome,
    ...CHANGES[outcome],
  });
  const record = await find(context, claimed);
  if (outcome === 'final' && record.state !== 'cancelled') {
    throw gatewayError('already-final', `the request has ended as ${record.state}`, {
      field: 'path.ticket',
      state: record.state,
      fix: 'nothing is left to cancel',
    });
  }
  answerJson(
    x,
    outcome === 'cancelling' ? 202 : 200,
    requestView(record, { ticket, appName, tickets: context.tickets }),
    {
      'penstock-state': record.state,
      'cache-control': 'no-store',
    },
  );
}
