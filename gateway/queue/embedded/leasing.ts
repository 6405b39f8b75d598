// SPDX-License-Identifier: Apache-2.0
import { LANES } from '../lease-queue.ts';
import type { Lane, Lease, LeaseAnswer, LeaseRequest } from '../lease-queue.ts';
import { LEASE_EXPIRY_BUDGET, OVERDUE_STEP, REKEY_STEP } from '../limits.ts';
import type { StoredRequest } from '../stored-request.ts';
import { stayOrLeave } from '../verdict.ts';
import { rekey } from './expiring.ts';
import { endOverdue, finish, recordOf } from './step.ts';
import type { Step } from './step.ts';
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
    waiting: lanes.some((lane) => step.app.pending.next(lane, request.revision) !== undefined),
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
  return held.flatMap(({ id, nonce }) => {
    const found = step.app.live.get(id);
    const due = step.app.leases.get(id);
    if (found?.state !== 'leased' || found.unit !== unit.unit || found.nonce !== nonce || due === undefined) return [];
    return [
      { id, token: { epoch: found.epoch, nonce: found.nonce }, record: recordOf(step, found), expiresAt: due.at },
    ];
  });
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
  readonly leases: Lease[];
  readonly wanted: number;
  /** Requests past their deadline that this call still clears away. */
  budget: number;
}

function take(step: Step, request: LeaseRequest, unit: Unit, lanes: readonly Lane[]): Lease[] {
  const wanted = request.desiredState === 'Paused' || step.app.closed ? 0 : request.max;
  const taking: Taking = { leases: [], wanted, budget: LEASE_EXPIRY_BUDGET };
  takeMore(taking, step, request, unit, lanes);
  if (taking.leases.length < request.max || request.max === 0) {
    // Not enough: what ran out, and what no other unit will ever take, may be had too.
    endOverdue(step, OVERDUE_STEP);
    rekey(step, request.currentRevision, REKEY_STEP);
    takeMore(taking, step, request, unit, lanes);
  }
  const { leases } = taking;
  if (leases.length > 0) Object.assign(unit, { lastNonce: request.nonces[0], lastGiven: leases.map((one) => one.id) });
  return leases;
}

function takeMore(taking: Taking, step: Step, request: LeaseRequest, unit: Unit, lanes: readonly Lane[]): void {
  const { leases } = taking;
  while (leases.length < taking.wanted && taking.budget > 0) {
    const next = nextOf(step, request.revision, lanes);
    if (next === undefined) return;
    step.app.unqueue(next);
    if (next.deadline === 0 || next.deadline > step.now) {
      leases.push(give(step, request, unit, next, request.nonces[leases.length] ?? ''));
      continue;
    }
    finish(step, next, 'expired');
    taking.budget--;
    // Enough for one call; the event brings the unit back for the rest.
    if (taking.budget === 0) step.emit({ type: 'ready', app: request.app });
  }
}

/** Lanes in order: online work goes before batch work. */
function nextOf(step: Step, revision: string, lanes: readonly Lane[]): StoredRequest | undefined {
  for (const lane of lanes) {
    const next = step.app.pending.next(lane, revision);
    if (next !== undefined) return next;
  }
  return undefined;
}

function give(step: Step, request: LeaseRequest, unit: Unit, next: StoredRequest, nonce: string): Lease {
  const expiresAt = step.now + request.leaseMs;
  next.state = 'leased';
  next.epoch++;
  next.nonce = nonce;
  next.unit = unit.unit;
  next.leasedAt = step.now;
  unit.leases++;
  step.app.leases.put({ request: next, at: expiresAt });
  step.store.saveRequest(next, expiresAt);
  return { id: next.id, token: { epoch: next.epoch, nonce }, record: recordOf(step, next), expiresAt };
}
