// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { LeaseCall, LeaseReply, WireLease, WirePayload } from '#base/wire/broker.ts';
import type { ServedApp } from '../apps/app-source.ts';
import type { UnitIdentity } from '../auth/sessions.ts';
import { gatewayError, storeUnavailable } from '../errors.ts';
import { onGone } from '../http/exchange.ts';
import type { Exchange } from '../http/exchange.ts';
import { SIGNED_URL_MIN_SECONDS } from '../limits.ts';
import type { Lane, Lease, LeaseAnswer, LeaseRequest, Payload } from '../queue/lease-queue.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { BrokerContext } from './context.ts';
import { gpuMicros } from './gpu-share.ts';
import type { Woken } from './lease-groups.ts';
import { formatLeaseToken } from './lease-token.ts';
import type { Seat } from './lease-waiters.ts';

/** The queue's clock may be behind this one: a recheck that seems overdue must not become a busy loop. */
const RECHECK_MIN_MS = 50;
const DEFAULT_LANES: readonly Lane[] = ['online', 'batch'];
/** An app that is being deleted gives nothing: its units finish what they hold and leave. */
const DELETED = { floor: 0, lingerMs: 0, desiredState: 'Paused' } as const;
/**
 * An app that this replica does not know: deleted, or one that its watch has not yet told of. It gives nothing and sends nobody away,
 * since a verdict is for good; of a deleted app the queue itself knows (purge has closed it), and sends its units away.
 */
const UNKNOWN = { floor: Number.MAX_SAFE_INTEGER, lingerMs: 0, desiredState: 'Ready' } as const;

/**
 * POST /internal/v1/lease: blocks until there is work, a verdict to leave, or the wait is over.
 * Undefined when the unit hung up: what it was about to get is given back.
 * @throws ProblemError 401 when the unit was retired or revoked
 */
export async function lease(
  context: BrokerContext,
  unit: UnitIdentity,
  call: LeaseCall,
  x: Exchange,
): Promise<LeaseReply | undefined> {
  const seat = context.waiters.enter(unit.appUid, unit.unit, unit.revision, call.lanes ?? DEFAULT_LANES);
  const gone = new AbortController();
  const off = onGone(x, () => gone.abort());
  try {
    const answer = await untilWork(context, unit, call, seat, gone.signal);
    if (mayLeaveMore(call, answer)) seat.passOn();
    const reply = await toReply(context, unit, answer).catch(async (err: unknown) => {
      await giveBack(context, unit, answer.leases);
      throw err;
    });
    if (gone.signal.aborted) {
      await giveBack(context, unit, answer.leases);
      return undefined;
    }
    // The connection may still end before the answer is out: then the unit never hears of these leases.
    off();
    onGone(x, () => void giveBack(context, unit, answer.leases));
    context.metrics.leased(answer.leases.length);
    return reply;
  } finally {
    off();
    seat.leave();
  }
}

/** It took all that it asked for; or a suspect, which is given alone whatever else there is. */
function mayLeaveMore({ max }: LeaseCall, { leases }: LeaseAnswer): boolean {
  return leases.length > 0 && (leases.length === max || leases.some(({ record }) => record.losses > 0));
}

async function untilWork(
  context: BrokerContext,
  unit: UnitIdentity,
  call: LeaseCall,
  seat: Seat,
  gone: AbortSignal,
): Promise<LeaseAnswer> {
  const { clock, waiters } = context;
  // A call for nothing wants the verdict only.
  const deadline = clock.monotonic() + (call.max === 0 ? 0 : call.wait_seconds * 1000);
  let woken: Woken | undefined;
  for (;;) {
    const generation = seat.generation();
    const answer = await look(context, unit, call, seat, woken);
    const left = deadline - clock.monotonic();
    if (isNews(answer) || left <= 0 || gone.aborted || waiters.stopped()) return answer;
    if (seat.generation() !== generation) continue;
    const lookAgainIn = untilRecheck(answer, clock);
    woken = await seat.park(Math.min(left, lookAgainIn), gone);
    // Nothing has come; whoever asks again begins with a look of its own.
    if (woken === 'gone' || (woken === 'time' && left <= lookAgainIn)) return answer;
  }
}

/** While it is found out what the queue has lost: work that has a result in the object store must not be given out again. */
const NOTHING_YET: LeaseAnswer = { leases: [], verdict: 'stay' };

/** One question to the queue. @throws ProblemError 401 when the unit was retired */
async function look(
  context: BrokerContext,
  unit: UnitIdentity,
  call: LeaseCall,
  seat: Seat,
  woken: Woken | undefined,
): Promise<LeaseAnswer> {
  if (context.recovery.held(unit.appUid)) return NOTHING_YET;
  const answer = await context.queue.lease(leaseRequest(context, unit, call));
  if (answer.verdict === 'refused') throw unitRetired();
  // The answer itself may have shown that the queue went back; what it gives may have been done before.
  if (answer.leases.length > 0 && context.recovery.held(unit.appUid)) {
    await giveBack(context, unit, answer.leases);
    return NOTHING_YET;
  }
  if (woken === undefined) return answer;
  if (answer.leases.length > 0) context.metrics.wokenFor('unit', woken);
  else if ((call.held ?? 0) > 0) seat.handOn();
  return answer;
}

function isNews({ leases, verdict }: LeaseAnswer): boolean {
  return leases.length > 0 || verdict === 'leave';
}

/** Milliseconds until the verdict may be another one although nothing happens. */
function untilRecheck({ recheckAt }: LeaseAnswer, clock: Clock): number {
  return recheckAt === undefined ? Infinity : Math.max(RECHECK_MIN_MS, recheckAt - clock.now());
}

function leaseRequest(
  { apps, random, leaseSeconds }: BrokerContext,
  { appUid, unit, revision }: UnitIdentity,
  { max, lanes = DEFAULT_LANES, capability }: LeaseCall,
): LeaseRequest {
  const app = apps.byUid(appUid);
  if (app === undefined && !apps.synced()) {
    throw gatewayError('not-ready', 'the gateway has not yet read the list of apps', {
      fix: 'try again in a moment',
      headers: { 'retry-after': '1' },
    });
  }
  const most = app === undefined ? 0 : max;
  const nonces =
    Buffer.from(random.bytes(8 * most))
      .toString('hex')
      .match(/.{16}/g) ?? [];
  return {
    app: appUid,
    unit,
    revision,
    lanes,
    max: most,
    leaseMs: leaseSeconds * 1000,
    nonces,
    fractionMicros: gpuMicros(app?.spec.resources, capability),
    ...wishes(app, revision),
  };
}

function wishes(
  app: ServedApp | undefined,
  ownRevision: string,
): Pick<LeaseRequest, 'currentRevision' | 'floor' | 'lingerMs' | 'desiredState'> {
  if (app === undefined) return { ...UNKNOWN, currentRevision: ownRevision };
  if (app.deleting) return { ...DELETED, currentRevision: ownRevision };
  const { scaling, desiredState } = app.spec;
  return {
    currentRevision: app.revision,
    floor: scaling.minUnits,
    lingerMs: scaling.idleLinger.seconds * 1000,
    desiredState,
  };
}

/** @throws ProblemError 401 when the unit's credential was revoked while it waited, 503 */
async function toReply(
  { apps, store, revocations, leaseSeconds }: BrokerContext,
  unit: UnitIdentity,
  answer: LeaseAnswer,
): Promise<LeaseReply> {
  await revocations.check(unit);
  // Leases come of known apps only; one that was deleted in between gives its units no time for more.
  const timeout = apps.byUid(unit.appUid)?.spec.request.timeoutSeconds ?? 0;
  const leases = await Promise.all(
    answer.leases.map(async ({ id, token, record }): Promise<WireLease> => {
      const { deadline, traceparent } = record;
      return {
        id,
        lease_token: formatLeaseToken(token),
        lane: record.lane,
        attempt: token.epoch,
        tenant: record.tenant,
        body: await wirePayload(store, record.body, timeout),
        lease_seconds: leaseSeconds,
        timeout_seconds: timeout,
        ...(deadline === undefined ? {} : { deadline }),
        ...(traceparent === undefined ? {} : { traceparent }),
      };
    }),
  );
  return { leases, verdict: answer.verdict === 'leave' ? 'leave' : 'stay' };
}

async function wirePayload(store: ObjectStore, payload: Payload, timeoutSeconds: number): Promise<WirePayload> {
  const { contentType, contentEncoding, bytes, inline, key } = payload;
  const facts = {
    content_type: contentType,
    bytes,
    ...(contentEncoding === undefined ? {} : { content_encoding: contentEncoding }),
  };
  if (inline !== undefined) return { ...facts, inline: Buffer.from(inline).toString('base64') };
  if (key === undefined) return facts;
  const expiresInSeconds = Math.max(SIGNED_URL_MIN_SECONDS, timeoutSeconds);
  const url = await store.signedUrl({ key, verb: 'GET', expiresInSeconds }, 'worker').catch((err: unknown) => {
    throw storeUnavailable(err);
  });
  return { ...facts, url };
}

/** Leases that their unit never hears of: without this they would block until they run out. */
async function giveBack({ queue, logger }: BrokerContext, unit: UnitIdentity, leases: readonly Lease[]): Promise<void> {
  if (leases.length === 0) return;
  try {
    await queue.release(unit.appUid, unit.unit, leases);
    logger.info(
      { unit: unit.unit, leases: leases.length },
      'leases that the unit could not be told of were given back',
    );
  } catch (err) {
    logger.warn(
      { unit: unit.unit, err },
      'leases that the unit was not told of could not be given back; they will run out',
    );
  }
}

export function unitRetired(): Error {
  return gatewayError('unit-retired', 'this unit was retired and can never lease again', {
    field: 'header:Authorization',
    fix: 'end the unit; the operator starts another one if it is needed',
    headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
  });
}
