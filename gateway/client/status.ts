// SPDX-License-Identifier: Apache-2.0
import { uuid7Time } from '#base/uuid7.ts';
import type { ServedApp } from '../apps/app-source.ts';
import { resolveApp } from '../apps/resolve.ts';
import { authenticate } from '../auth/credential.ts';
import type { Tenant } from '../auth/tenants.ts';
import { gatewayError, queueUnavailable } from '../errors.ts';
import { onGone } from '../http/exchange.ts';
import type { Exchange } from '../http/exchange.ts';
import type { RequestRecord } from '../queue/lease-queue.ts';
import type { ToldOutcome } from '../queue/request-outcome.ts';
import type { ClientContext } from './context.ts';
import { answerOutcome, resultExpired } from './outcome.ts';
import { parsePrefer } from './prefer.ts';

/** A ticket that belongs to the caller: what it stands for. */
export interface Claimed {
  readonly tenant: Tenant;
  readonly app: ServedApp;
  readonly id: string;
}

/**
 * GET /v1/{app}/status/{ticket}
 * @throws ProblemError
 */
export async function status(x: Exchange, context: ClientContext, appName: string, ticket: string): Promise<void> {
  const claimed = await claim(x, context, appName, ticket);
  const preference = parsePrefer(x.req.headers.prefer);
  const outcome = await kept(context, claimed, () => lookUp(x, context, claimed, preference.waitSeconds));
  await answerOutcome(x, outcome, { store: context.store, ticket, appName, preference });
}

/** Credential, app and ticket checked, without a look-up: a ticket of someone else's is as unknown as an invented one. */
export async function claim(x: Exchange, context: ClientContext, appName: string, ticket: string): Promise<Claimed> {
  const tenant = await authenticate(x.req, context.tenants);
  x.tenant = tenant.name;
  x.subject = tenant.subject;
  const app = resolveApp(context.apps, tenant, appName);
  x.app = app.uid;
  const id = context.tickets.verify({ appUid: app.uid, tenant: tenant.name }, ticket);
  if (id !== undefined) return { tenant, app, id };
  throw gatewayError('ticket-unknown', 'no such ticket was issued to this tenant for this app', {
    field: 'path.ticket',
    fix: 'use the ticket as POST …/infer answered it, with the same app and credential',
  });
}

/**
 * The record behind a ticket.
 * @throws ProblemError 410 when its time is over, 500 `request-lost` when it should be there
 */
export async function find(context: ClientContext, claimed: Claimed): Promise<RequestRecord> {
  return await kept(context, claimed, () => context.queue.get(claimed.app.uid, claimed.id));
}

/** What a look finds, unless its time is over; what is missing is explained. */
async function kept<T extends Pick<ToldOutcome, 'finishedAt' | 'retentionMs'>>(
  context: ClientContext,
  claimed: Claimed,
  look: () => Promise<T | undefined>,
): Promise<T> {
  const record = await look().catch((err: unknown) => {
    throw queueUnavailable(err);
  });
  const now = context.clock.now();
  if (record !== undefined) {
    // The sweep may be some seconds behind; the promise is the retention's, not the sweep's.
    if (record.finishedAt !== undefined && record.finishedAt + (record.retentionMs ?? 0) <= now) throw resultExpired();
    return record;
  }
  const { app, id } = claimed;
  // A purge ends what is queued and then takes the records: nothing is lost that anyone still wants.
  if (app.deleting) throw cancelledWithApp();
  const fate = await fateOf(context, claimed, now);
  if (fate === 'purged') throw cancelledWithApp();
  if (fate === 'kept') throw resultExpired();
  context.metrics.lost();
  context.logger.error({ app: app.uid, id }, 'a ticket that was issued has no record');
  throw gatewayError('request-lost', 'the request was accepted and its record is gone', {
    fix: 'send the request again; tell the operators of this gateway',
  });
}

/**
 * Why a record is missing. 'kept' as long as was promised: its own retention went with it, and the app's may have been raised since; then
 * the record was swept although it is younger than today's retention, and only the queue knows that. 'purged' with its app: another
 * replica did it before this one has heard of the deletion.
 */
async function fateOf(
  { queue }: ClientContext,
  { app, id }: Claimed,
  now: number,
): Promise<'kept' | 'purged' | 'lost'> {
  const made = uuid7Time(id) ?? 0;
  if (made + app.spec.request.resultRetentionSeconds * 1000 <= now) return 'kept';
  const { closed, sweptUpTo } = await queue.remains(app.uid).catch((err: unknown) => {
    throw queueUnavailable(err);
  });
  if (closed) return 'purged';
  return made <= sweptUpTo ? 'kept' : 'lost';
}

function cancelledWithApp(): Error {
  return gatewayError('cancelled', 'the app is being deleted, and its requests with it', {
    field: 'path.app',
    fix: 'create the app again and send the request again',
    headers: { 'penstock-state': 'cancelled' },
  });
}

/** Waits up to `waitSeconds` for the end. */
function lookUp(
  x: Exchange,
  { queue, waits }: ClientContext,
  { app, id }: Claimed,
  waitSeconds: number,
): Promise<ToldOutcome | undefined> {
  if (waitSeconds === 0) return queue.outcome(app.uid, id);
  return waits.untilFinal(app.uid, id, waitSeconds * 1000, (ring) => onGone(x, ring));
}
