// SPDX-License-Identifier: Apache-2.0
import type { ServedApp } from '../apps/app-source.ts';
import { appDeleting, checkAccepting, resolveApp } from '../apps/resolve.ts';
import { authenticate } from '../auth/credential.ts';
import type { Tenant } from '../auth/tenants.ts';
import { gatewayError } from '../errors.ts';
import { onGone } from '../http/exchange.ts';
import type { Exchange } from '../http/exchange.ts';
import type { EnqueueOutcome, NewRequest, RequestRecord } from '../queue/lease-queue.ts';
import type { ToldOutcome } from '../queue/request-outcome.ts';
import { queueFull } from '../ratelimit.ts';
import { bodyKey } from '../store/keys.ts';
import { uuid7 } from '#base/uuid7.ts';
import { planBody } from './body-plan.ts';
import type { ClientContext } from './context.ts';
import { dedupeKey, explicitKey, parseIdempotencyKey } from './idempotency.ts';
import { parseIntent } from './intent.ts';
import type { Intent } from './intent.ts';
import { answerOutcome } from './outcome.ts';
import { parsePrefer } from './prefer.ts';
import { receiveBody } from './receive.ts';
import { receiveChecked } from './receive-checked.ts';
import type { ReceivedBody } from './receive.ts';
import { isFinal } from './waits.ts';
import type { Gone, Watch } from './waits.ts';

/** W3C Trace Context, version 00; an invalid one starts a new trace, so it is dropped. */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/**
 * POST /v1/{app}/infer: the body is stored, then the request is queued, then the client hears of it (DESIGN §3.1).
 * @throws ProblemError
 */
export async function infer(x: Exchange, context: ClientContext, appName: string): Promise<void> {
  const { req, res } = x;
  context.overload.admit();
  const tenant = await authenticate(req, context.tenants);
  x.tenant = tenant.name;
  x.subject = tenant.subject;
  const rate = context.limiter.take(tenant);
  if (rate !== undefined) x.rate = rate;
  const app = resolveApp(context.apps, tenant, appName);
  x.app = app.uid;
  checkAccepting(app);
  const preference = parsePrefer(req.headers.prefer);
  const intent = parseIntent(req.headers, tenant.priorityCeiling, context.clock.now());
  const headerKey = parseIdempotencyKey(req.headers['idempotency-key']);
  const plan = planBody(req, app.spec.request.maxBytes);
  const check = context.checks.of(app);

  const id = uuid7(context.clock, context.random);
  const key = (): string => bodyKey(app.uid, id);
  const body =
    check === undefined
      ? await receiveBody(req, res, plan, context.store, key)
      : await receiveChecked(req, res, plan, check, context.store, key);
  const request = await keyed(context, body, () =>
    newRequest(x, context, { id, app, tenant, body, intent, headerKey }),
  );
  // Before it is queued: its end may come before the word that it is.
  const watch = preference.waitSeconds > 0 ? context.waits.watch(app.uid, id) : undefined;
  try {
    const outcome = await context.enqueue(request);
    if (outcome.kind !== 'queued') await dropBody(context, body);
    countSubmit(context, tenant, outcome);
    const accepted = acceptedRecord(outcome, x.rate);
    const ticket = context.tickets.mint({ appUid: app.uid, tenant: tenant.name }, accepted.id);
    const record = await waited(x, context, accepted, preference.waitSeconds, watch);
    await answerOutcome(x, record, { store: context.store, ticket, appName, preference });
  } finally {
    watch?.leave();
  }
}

interface Parts {
  readonly id: string;
  readonly app: ServedApp;
  readonly tenant: Tenant;
  readonly body: ReceivedBody;
  readonly intent: Intent;
  readonly headerKey: string | undefined;
}

function newRequest(
  { req }: Exchange,
  { tenants }: Pick<ClientContext, 'tenants'>,
  { id, app, tenant, body, intent, headerKey }: Parts,
): NewRequest {
  const { request } = app.spec;
  const explicit = explicitKey(headerKey, body.rid);
  const traceparent = req.headers['traceparent'];
  return {
    id,
    app: app.uid,
    tenant: tenant.name,
    lane: 'online',
    revision: app.revision,
    ...intent,
    // As the document says now: a body may take minutes, and a share of before would stay in the queue until the next submit.
    share: tenants.policies().of(tenant.name).shareFor(app),
    body: body.payload,
    dedupeKey: dedupeKey({ tenant: tenant.name, revision: app.revision }, explicit, body.digest),
    ...(explicit === undefined ? {} : { fingerprint: body.digest }),
    retry: { maxAttempts: request.retry.maxAttempts, maxLosses: request.retry.maxLosses },
    retentionMs: request.resultRetentionSeconds * 1000,
    ...(typeof traceparent === 'string' && TRACEPARENT.test(traceparent) ? { traceparent } : {}),
  };
}

/** A body that is stored already and then found wrong must not stay. */
async function keyed(context: ClientContext, body: ReceivedBody, make: () => NewRequest): Promise<NewRequest> {
  try {
    return make();
  } catch (err) {
    await dropBody(context, body);
    throw err;
  }
}

function countSubmit({ metrics, tenantMetrics }: ClientContext, { name }: Tenant, { kind }: EnqueueOutcome): void {
  if (kind === 'full') tenantMetrics.submitted(name, 'queue-full');
  if (kind !== 'queued' && kind !== 'joined') return;
  metrics.accepted(kind);
  tenantMetrics.submitted(name, kind);
}

function acceptedRecord(outcome: EnqueueOutcome, rate: Exchange['rate']): RequestRecord {
  switch (outcome.kind) {
    case 'conflict':
      throw gatewayError('key-reused', 'the same idempotency key came with another body before', {
        field: 'header:Idempotency-Key',
        fix: 'send another key with another body, or the first body again',
      });
    case 'closed':
      throw appDeleting();
    case 'full':
      throw queueFull(outcome, rate);
    default:
      return outcome.record;
  }
}

/** The body of a request that joined another one, or was refused, belongs to nobody. */
async function dropBody({ store, logger }: ClientContext, { payload }: ReceivedBody): Promise<void> {
  if (payload.key === undefined) return;
  try {
    await store.delete([payload.key]);
  } catch (err) {
    // The walk over stored objects (orphan-objects.ts) takes it later; the request itself is well.
    logger.warn({ key: payload.key, err }, 'the body of a repeated request could not be removed');
  }
}

async function waited(
  x: Exchange,
  context: ClientContext,
  record: RequestRecord,
  seconds: number,
  watch: Watch | undefined,
): Promise<ToldOutcome> {
  if (seconds === 0 || isFinal(record.state)) return record;
  const gone: Gone = (ring) => onGone(x, ring);
  try {
    const waiting =
      record.id === watch?.id && record.state === 'queued'
        ? watch.untilFinal(seconds * 1000, gone)
        : context.waits.untilFinal(record.app, record.id, seconds * 1000, gone);
    return (await waiting) ?? record;
  } catch (err) {
    // It is accepted: the client gets its ticket, whatever became of the queue while it waited.
    context.logger.warn({ app: record.app, id: record.id, err }, 'a wait was cut short, the queue cannot be asked');
    return record;
  }
}
