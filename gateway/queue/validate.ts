// SPDX-License-Identifier: Apache-2.0
import { QueueError } from './errors.ts';
import {
  COST_LIMIT_MICROS,
  DEADLINE_LIMIT,
  FRACTION_LIMIT,
  MAX_BATCH,
  MAX_ENQUEUE,
  MAX_LEASE_MS,
  PRIORITY_LIMIT,
  WEIGHT_LIMIT,
} from './limits.ts';
import { INLINE_LIMIT_BYTES, LANES } from './lease-queue.ts';
import type { LeaseRequest, NewRequest, Payload, Redrive, TenantShare } from './lease-queue.ts';

/** Apps and revisions become parts of Redis keys: no separator, no brace that would move the hash tag. */
const PART = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;
/** Tenants and units stand last in a key or inside a value. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._~@+:/-]{0,252}$/;
const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const NONCE = /^[0-9a-f]{16}$/;
const MAX_DEDUPE_KEY = 1_024;
const MAX_RETENTION_MS = 366 * 24 * 3_600_000;
const MAX_BUDGET = 1_000;

function bad(field: string, want: string): never {
  throw new QueueError('invalid', `${field} must be ${want}`);
}

function integer(field: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) bad(field, `an integer from ${min} to ${max}`);
}

function matching(field: string, value: string, pattern: RegExp): void {
  if (!pattern.test(value)) bad(field, `a string matching ${pattern.source}`);
}

/** @throws QueueError `invalid` naming the field. */
export function checkApp(app: string): void {
  matching('app', app, PART);
}

/** @throws QueueError `invalid` naming the field. */
export function checkUnit(unit: string): void {
  matching('unit', unit, NAME);
}

/** @throws QueueError `invalid` naming the field. */
export function checkPayload(field: string, payload: Payload): void {
  integer(`${field}.bytes`, payload.bytes, 0, Number.MAX_SAFE_INTEGER);
  if (payload.inline !== undefined && payload.key !== undefined) bad(field, 'inline bytes or an object key, not both');
  if (payload.inline !== undefined && payload.inline.byteLength > INLINE_LIMIT_BYTES) {
    bad(`${field}.inline`, `at most ${INLINE_LIMIT_BYTES} bytes; larger ones go to the object store`);
  }
  if (payload.bytes > 0 && payload.inline === undefined && payload.key === undefined)
    bad(field, 'stored inline or under an object key');
}

/** @throws QueueError `invalid` naming the field. */
export function checkEnqueue(requests: readonly NewRequest[]): void {
  if (requests.length > MAX_ENQUEUE) bad('requests', `at most ${MAX_ENQUEUE} in one call`);
  for (const request of requests) checkRequest(request);
}

function checkRequest(request: NewRequest): void {
  matching('id', request.id, UUID7);
  matching('app', request.app, PART);
  matching('tenant', request.tenant, NAME);
  matching('revision', request.revision, PART);
  if (!LANES.includes(request.lane)) bad('lane', `one of ${LANES.join(', ')}`);
  integer('priority', request.priority, -PRIORITY_LIMIT, PRIORITY_LIMIT);
  if (request.deadline !== undefined) integer('deadline', request.deadline, 1, DEADLINE_LIMIT);
  integer('cost', request.cost, 0, COST_LIMIT_MICROS);
  if (request.share !== undefined) checkShare('share', request.share);
  integer('retry.maxAttempts', request.retry.maxAttempts, 1, MAX_BUDGET);
  integer('retry.maxLosses', request.retry.maxLosses, 0, MAX_BUDGET);
  integer('retentionMs', request.retentionMs, 0, MAX_RETENTION_MS);
  const dedupe = request.dedupeKey.length;
  if (dedupe < 1 || dedupe > MAX_DEDUPE_KEY) bad('dedupeKey', `1 to ${MAX_DEDUPE_KEY} characters long`);
  checkPayload('body', request.body);
}

/** @throws QueueError `invalid` naming the field. */
export function checkLease(request: LeaseRequest): void {
  matching('app', request.app, PART);
  matching('unit', request.unit, NAME);
  matching('revision', request.revision, PART);
  matching('currentRevision', request.currentRevision, PART);
  integer('max', request.max, 0, MAX_BATCH);
  checkLeaseMs(request.leaseMs);
  integer('floor', request.floor, 0, Number.MAX_SAFE_INTEGER);
  integer('lingerMs', request.lingerMs, 0, Number.MAX_SAFE_INTEGER);
  for (const lane of request.lanes) if (!LANES.includes(lane)) bad('lanes', `a list of ${LANES.join(', ')}`);
  if (request.nonces.length < request.max) bad('nonces', 'one for each possible lease');
  for (const nonce of request.nonces) matching('nonces', nonce, NONCE);
  if (request.fractionMicros !== undefined) integer('fractionMicros', request.fractionMicros, 1, FRACTION_LIMIT);
  if (request.starvationGraceMs !== undefined)
    integer('starvationGraceMs', request.starvationGraceMs, 0, Number.MAX_SAFE_INTEGER);
}

function checkShare(field: string, share: TenantShare): void {
  integer(`${field}.weight`, share.weight, 1, WEIGHT_LIMIT);
  if (share.maxInFlight !== undefined) integer(`${field}.maxInFlight`, share.maxInFlight, 0, Number.MAX_SAFE_INTEGER);
  if (share.maxQueued !== undefined) integer(`${field}.maxQueued`, share.maxQueued, 0, Number.MAX_SAFE_INTEGER);
}

/** @throws QueueError `invalid` naming the field. */
export function checkShares(shares: ReadonlyMap<string, TenantShare>): void {
  if (shares.size > MAX_BATCH) bad('shares', `at most ${MAX_BATCH} in one call`);
  for (const [tenant, share] of shares) {
    matching('shares', tenant, NAME);
    checkShare(`shares.${tenant}`, share);
  }
}

/** @throws QueueError `invalid` naming the field. */
export function checkRedrives(letters: readonly Redrive[]): void {
  checkBatch('letters', letters);
  for (const letter of letters) {
    matching('letters.newId', letter.newId, UUID7);
    matching('letters.revision', letter.revision, PART);
    if (letter.share !== undefined) checkShare('letters.share', letter.share);
  }
}

/** @throws QueueError `invalid` naming the field. */
export function checkLeaseMs(leaseMs: number): void {
  integer('leaseMs', leaseMs, 1, MAX_LEASE_MS);
}

/** @throws QueueError `invalid` naming the field. */
export function checkBatch(field: string, items: readonly unknown[]): void {
  if (items.length > MAX_BATCH) bad(field, `at most ${MAX_BATCH} in one call`);
}
