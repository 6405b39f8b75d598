// SPDX-License-Identifier: Apache-2.0
import { LANES } from '../lease-queue.ts';
import type { Lane, Lease, LeaseAnswer, LeaseRequest } from '../lease-queue.ts';
import { LEASE_EXPIRY_BUDGET, OVERDUE_STEP, REKEY_STEP, STARVATION_GRACE_MS, WHOLE_GPU } from '../limits.ts';
import { gpuTime } from '../order.ts';
import { stayOrLeave } from '../verdict.ts';
import { rekey } from './expiring.ts';
import type { QueuedRequest } from './request.ts';
import { endOverdue, finish, recordOf } from './step.ts';
import type { Step } from './step.ts';
import { isDrained, takeSuspect } from './suspects.ts';
import type { Unit } from './units.ts';

/** A waiting unit is seen every few seconds: writing that down less often saves a commit and costs no more than these ms of precision. */
const SEEN_WRITE_MS = 5_000;

export function lease(step: Step, request: LeaseRequest): LeaseAnswer {
  const { units, stored } = step.app;
  if (stored.phase === 2 || units.get(request.unit)?.retired === true) return { leases: [], verdict: 'refused' };
  const repeated = repeat(step, request);
  if (repeated !== undefined) return { leases: repeated, verdict: 'stay' };
  const { unit, changed } = announce(step, request);
  const lanes = LANES.filter((lane) => request.lanes.includes(lane));
  const leases = take(step, request, unit, lanes);
  const idled = markIdle(unit, leases.length, step.now);
  const verdict = stayOrLeave(request, {
    holds: unit.leases,
    waiting: lanes.some((lane) => step.app.fair.pending.get(lane, request.revision) !== undefined),
    live: units.live(request.currentRevision),
    idleSince: unit.idleSince,
    now: step.now,
    closed: step.app.closed,
  });
  if (verdict.leave) units.retire(unit.unit, step.now);
  if (changed || idled || verdict.leave) step.store.saveUnit(stored.uid, unit);
  return {
    leases,
    verdict: verdict.leave ? 'leave' : 'stay',
    ...(verdict.recheckAt === undefined ? {} : { recheckAt: verdict.recheckAt }),
  };
}

/** The same call again (its first nonce says so): what it was given and still holds. */
function repeat(step: Step, request: LeaseRequest): Lease[] | undefined {
  const unit = step.app.units.get(request.unit);
  if (unit === undefined || request.max === 0 || unit.lastNonce !== request.nonces[0]) return undefined;
  const held = (unit.lastGiven ?? []).map((id, i) => ({ id, nonce: request.nonces[i] }));
  const leases = held.flatMap(({ id, nonce }) => {
    const found = step.app.live.get(id);
    const due = step.app.leases.get(id);
    if (found?.state !== 'leased' || found.unit !== unit.unit || found.nonce !== nonce || due === undefined) return [];
    return [
      { id, token: { epoch: found.epoch, nonce: found.nonce }, record: recordOf(step, found), expiresAt: due.at },
    ];
  });
  // One end for all leases of a call, as it was at first: the earliest, should some have been extended since.
  const expiresAt = Math.min(...leases.map((one) => one.expiresAt));
  return leases.map((one) => ({ ...one, expiresAt }));
}

function announce(step: Step, request: LeaseRequest): { readonly unit: Unit; readonly changed: boolean } {
  const seenBefore = step.app.units.get(request.unit)?.lastSeenAt ?? 0;
  const { unit, joined } = step.app.units.seen(request.unit, request.revision, step.now);
  // With one more in the house another one may leave.
  if (joined && request.floor > 0) step.emit({ type: 'ready', app: request.app });
  return { unit, changed: joined || step.now - seenBefore >= SEEN_WRITE_MS };
}

/** Idle time starts when a unit asks in vain for the first time after its last lease, not when it was given that one. */
function markIdle(unit: Unit, given: number, now: number): boolean {
  const before = unit.idleSince;
  if (given > 0) unit.idleSince = 0;
  else if (unit.leases === 0 && unit.idleSince === 0) unit.idleSince = now;
  return unit.idleSince !== before;
}

interface Taking {
  readonly step: Step;
  readonly request: LeaseRequest;
  readonly unit: Unit;
  readonly lanes: readonly Lane[];
  readonly leases: Lease[];
  readonly wanted: number;
  /** Requests past their deadline that this call still clears away. */
  budget: number;
}

function take(step: Step, request: LeaseRequest, unit: Unit, lanes: readonly Lane[]): Lease[] {
  const isShut = request.desiredState === 'Paused' || step.app.closed || request.max === 0;
  const wanted = isShut || isDrained(step, unit, lanes) ? 0 : request.max;
  const taking: Taking = { step, request, unit, lanes, leases: [], wanted, budget: LEASE_EXPIRY_BUDGET };
  takeRound(taking);
  if (taking.leases.length < request.max || request.max === 0) {
    // Not enough: what ran out, and what no other unit will ever take, may be had too.
    endOverdue(step, OVERDUE_STEP);
    rekey(step, request.currentRevision, REKEY_STEP);
    takeRound(taking);
  }
  const { leases } = taking;
  if (leases.length > 0) Object.assign(unit, { lastNonce: request.nonces[0], lastGiven: leases.map((one) => one.id) });
  return leases;
}

function takeRound(taking: Taking): void {
  const { step, request, unit, lanes, wanted } = taking;
  if (wanted === 0) return;
  beginSharing(step, request);
  if (unit.leases === 0) {
    const suspect = takeSuspect(step, request.revision, lanes);
    // Alone: should it cost this unit its life too, it takes no neighbour with it.
    if (suspect !== undefined) give(taking, suspect, false);
  }
  if (unit.suspects === 0) takeInOrder(taking);
}

/** Batch work that has waited for too long behind online work gets its part from now on. */
function beginSharing(
  { app, now, store }: Step,
  { revision, starvationGraceMs = STARVATION_GRACE_MS }: LeaseRequest,
): void {
  const oldest = app.fair.pending.get('batch', revision)?.arrivals.peek();
  if (oldest === undefined || app.fair.sharing.of(revision) !== undefined) return;
  if (now - oldest.createdAt < starvationGraceMs) return;
  app.fair.sharing.begin(revision);
  store.touch(app.stored.uid);
}

function takeInOrder(taking: Taking): void {
  const { step, request, leases } = taking;
  const { pending, sharing } = step.app.fair;
  while (leases.length < taking.wanted && taking.budget > 0) {
    const open = taking.lanes.filter((lane) => (pending.get(lane, request.revision)?.eligible.size ?? 0) > 0);
    const lane = open.length === 2 ? sharing.turn(request.revision) : open[0];
    const next = lane === undefined ? undefined : pending.get(lane, request.revision)?.next();
    if (next === undefined) return;
    if (next.deadline === 0 || next.deadline > step.now) {
      give(taking, next, taking.lanes.length === 2 && open.length === 1);
      continue;
    }
    step.app.unqueue(next);
    finish(step, next, 'expired');
    taking.budget--;
    // Enough for one call; the event brings the unit back for the rest.
    if (taking.budget === 0) step.emit({ type: 'ready', app: request.app });
  }
}

/** @param alone the other lane was asked too and had nothing to give */
function give({ step, request, unit, leases }: Taking, next: QueuedRequest, alone: boolean): void {
  const { app } = step;
  const expiresAt = step.now + request.leaseMs;
  const nonce = request.nonces[leases.length] ?? '';
  app.unqueue(next);
  next.state = 'leased';
  next.epoch++;
  next.nonce = nonce;
  next.unit = unit.unit;
  next.leasedAt = step.now;
  next.fraction = request.fractionMicros ?? WHOLE_GPU;
  unit.leases++;
  if (next.losses > 0) unit.suspects++;
  const cost = costOf(step, next);
  app.fair.charge(next, cost);
  next.period = app.fair.sharing.charge(next.revision, next.lane, cost, alone);
  app.leases.put({ request: next, at: expiresAt });
  step.store.saveRequest(next, expiresAt);
  leases.push({ id: next.id, token: { epoch: next.epoch, nonce }, record: recordOf(step, next), expiresAt });
}

/** What the client said, or what was learned, in µGPU-seconds. */
function costOf({ app }: Step, request: QueuedRequest): number {
  if (request.fixed.cost > 0) return request.fixed.cost;
  const expected = app.estimates.expected(request.revision, request.fixed.body.bytes);
  return Math.max(1, gpuTime(expected, request.fraction));
}
