// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import { LANES } from '../lease-queue.ts';
import type {
  Attempt,
  Held,
  Lane,
  LeaseRequest,
  NewRequest,
  Payload,
  RequestRecord,
  RequestState,
  TenantShare,
} from '../lease-queue.ts';
import type { RequestOutcome } from '../request-outcome.ts';
import { DEADLINE_LIMIT, PRIORITY_LIMIT, STARVATION_GRACE_MS, WHOLE_GPU } from '../limits.ts';
import { classOf, orderScore } from '../order.ts';
import { toOutcome, toRecord } from '../stored-request.ts';
import type { PayloadMeta } from '../stored-request.ts';
import { compact, expand } from './compact.ts';
import { LANE_NUMBERS, STATES } from './lua/core.ts';
import { AT, behindFixed, readFixed, readState } from './record-layout.ts';
import type { Field, StoredFields } from './record-layout.ts';
import { bufferOf } from './replies.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
/** Stands for what the record says anyway, tenant and revision, at the start of a dedupe key; or for nothing. */
const SCOPED = '\u0001';
const UNSCOPED = '\u0002';
/**
 * 96 bits: a digest that equals one of the millions that are stored is beyond reach, and whoever makes two of his own equal joins
 * nobody else, as keys are scoped by tenant.
 */
const DIGEST_BYTES = 12;
/** In place of a bound that is not there. */
const NONE = -1;
/** In place of a share that is not told. */
const NOT_TOLD = ['', '', ''];

/** 16 raw bytes of a UUID; undefined when the string is none, so nothing is stored under it. */
export function packId(id: string): Buffer | undefined {
  return UUID.test(id) ? Buffer.from(id.replaceAll('-', ''), 'hex') : undefined;
}

export function unpackId(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}

/** An id that is none of ours matches nothing; so does a token that is no token. */
export function heldArgs({ id, token }: Held): (string | Buffer)[] {
  return [packId(id) ?? '', String(token.epoch), token.nonce];
}

/** Arguments of one request of the enqueue script. */
export function enqueueArgs(request: NewRequest): (string | Buffer | number)[] {
  return [
    packId(request.id) ?? '',
    digest(request.dedupeKey),
    request.fingerprint === undefined ? '' : digest(request.fingerprint),
    orderScore(request.priority, request.deadline),
    LANE_NUMBERS[request.lane] ?? 0,
    request.tenant,
    request.revision,
    request.deadline ?? 0,
    request.retry.maxAttempts,
    request.retry.maxLosses,
    request.retentionMs,
    request.body.key ?? '',
    ownPart(request),
    request.cost,
    classOf(request.body.bytes),
    ...shareArgs(request.share),
  ];
}

export function shareArgs(share: TenantShare | undefined): readonly (string | number)[] {
  return share === undefined ? NOT_TOLD : [share.weight, share.maxInFlight ?? NONE, share.maxQueued ?? NONE];
}

/** What the scripts never look at. */
function ownPart({ tenant, revision, dedupeKey, body, traceparent }: NewRequest): Buffer {
  const scope = `${tenant}:${revision}:`;
  const key = dedupeKey.startsWith(scope) ? SCOPED + dedupeKey.slice(scope.length) : UNSCOPED + dedupeKey;
  return compact([...metaStrings(body), key, traceparent ?? ''], body.inline);
}

/** Arguments of one request of the lease script. What units of a revision say alike is one of them: each costs time on both sides. */
export function leaseArgs(request: LeaseRequest): (string | number)[] {
  const alike = [
    request.revision,
    request.currentRevision,
    request.leaseMs,
    request.floor,
    request.lingerMs,
    request.desiredState,
    LANES.flatMap((lane, i) => (request.lanes.includes(lane) ? i : [])).join(''),
    request.fractionMicros ?? WHOLE_GPU,
    request.starvationGraceMs ?? STARVATION_GRACE_MS,
  ];
  return [request.unit, request.max, request.nonces.join(''), alike.join('\n')];
}

/** The record of a request that was queued just now, without reading it back. */
export function newRecord(request: NewRequest, createdAt: number): RequestRecord {
  const { fingerprint: _fingerprint, share: _share, ...kept } = request;
  const fresh = {
    state: 'queued',
    epoch: 0,
    attempts: [],
    failures: 0,
    losses: 0,
    deadLetter: false,
    cancelRequested: false,
  } as const;
  return { ...kept, ...fresh, createdAt };
}

export function resultValue(result: Payload): Buffer {
  return compact(metaStrings(result), result.inline);
}

/** What scripts answer of a request: id, state (empty: never leased), fixed part, ended attempts (or empty). */
export function decodeRecord(app: string, parts: readonly (Buffer | undefined)[]): RequestRecord {
  return decodeLease(app, parts).record;
}

/** The same, with the token of its last lease. */
export function decodeLease(
  app: string,
  parts: readonly (Buffer | undefined)[],
): Held & { readonly record: RequestRecord } {
  const [id, state, fixed, ended] = parts;
  if (id === undefined || fixed === undefined) throw new Error('the queue holds half a record');
  const { strings, bytes } = expand(behindFixed(fixed));
  const isFresh = state === undefined || state.length === 0;
  const stored = isFresh ? readFixed(fixed) : readState(state);
  const number = (field: Field): number => stored.numbers[AT[field]] ?? 0;
  const text = (field: Field): string => stored.texts[AT[field]] ?? '';
  const outcome = isFresh || stored.rest.length === 0 ? undefined : expand(stored.rest);
  const [, , , , key = '', traceparent] = strings;
  const score = number('SCORE');
  const redrivenAs = text('REDRIVEN');
  const record = toRecord(
    {
      id: unpackId(id),
      app,
      fixed: {
        cost: number('COST'),
        priority: PRIORITY_LIMIT - Math.floor(score / (DEADLINE_LIMIT + 1)),
        body: metaOf(strings),
        dedupeKey: (key.startsWith(SCOPED) ? scopeOf(readFixed(fixed)) : '') + key.slice(1),
        ...(traceparent === undefined || traceparent === '' ? {} : { traceparent }),
      },
      tenant: text('TENANT'),
      lane: LANES[number('LANE')] as Lane,
      deadline: number('DEADLINE'),
      maxAttempts: number('MAX_ATTEMPTS'),
      maxLosses: number('MAX_LOSSES'),
      retentionMs: number('RETENTION'),
      createdAt: number('CREATED'),
      seq: number('SEQ'),
      score,
      revision: text('REV'),
      state: STATES[number('STATE')] as RequestState,
      epoch: number('EPOCH'),
      nonce: text('NONCE'),
      unit: text('UNIT'),
      leasedAt: number('LEASED_AT'),
      failures: number('FAILURES'),
      losses: number('LOSSES'),
      cancelRequested: number('CANCEL') === 1,
      deadLetter: number('DEAD') === 1,
      ...(redrivenAs === '' ? {} : { redrivenAs: unpackId(Buffer.from(redrivenAs, 'hex')) }),
      finishedAt: number('FINISHED'),
      serviceMicros: number('SERVICE'),
      ended: attempts(ended),
      ...(outcome === undefined ? {} : { result: metaOf(outcome.strings) }),
    },
    bytes,
    outcome?.bytes,
  );
  return { id: record.id, token: { epoch: record.epoch, nonce: text('NONCE') }, record };
}

/** @param reply what the script of outcomes answers of one */
export function decodeOutcome(app: string, id: string, reply: unknown): RequestOutcome | undefined {
  if (Buffer.isBuffer(reply)) return { id, app, state: 'queued', attempts: [], deadLetter: false };
  if (!Array.isArray(reply)) return undefined;
  const [state, ended] = reply.map(bufferOf);
  const { numbers, texts, rest } = readState(state ?? EMPTY);
  const outcome = rest.length === 0 ? undefined : expand(rest);
  const stored = {
    id,
    app,
    state: STATES[numbers[AT.STATE] ?? 0] as RequestState,
    epoch: numbers[AT.EPOCH] ?? 0,
    unit: texts[AT.UNIT] ?? '',
    leasedAt: numbers[AT.LEASED_AT] ?? 0,
    finishedAt: numbers[AT.FINISHED] ?? 0,
    retentionMs: numbers[AT.RETENTION] ?? 0,
    serviceMicros: numbers[AT.SERVICE] ?? 0,
    deadLetter: numbers[AT.DEAD] === 1,
    ended: attempts(ended),
    ...(outcome === undefined ? {} : { result: metaOf(outcome.strings) }),
  };
  return toOutcome(stored, outcome?.bytes);
}

const EMPTY = Buffer.alloc(0);

/** What stands before the client's own part of a dedupe key. */
function scopeOf({ texts }: StoredFields): string {
  return `${texts[AT.TENANT]}:${texts[AT.REV]}:`;
}

function attempts(lines: Buffer | undefined): Attempt[] {
  if (lines === undefined || lines.length === 0) return [];
  return lines
    .toString()
    .split('\n')
    .map((line) => {
      const [epoch, unit, leasedAt, endedAt, outcome, message] = JSON.parse(line) as [
        number,
        string,
        number,
        number,
        Attempt['outcome'],
        string,
      ];
      return { epoch, unit, leasedAt, endedAt, ...(outcome === undefined ? {} : { outcome }), message };
    });
}

function digest(text: string): Buffer {
  // As text: a digest in a buffer of its own takes three times as long.
  return Buffer.from(hash('sha256', text, 'latin1').slice(0, DIGEST_BYTES), 'latin1');
}

function metaStrings(payload: Payload): string[] {
  return [payload.contentType, String(payload.bytes), payload.contentEncoding ?? '', payload.key ?? ''];
}

function metaOf([contentType = '', bytes, contentEncoding = '', key = '']: readonly string[]): PayloadMeta {
  return {
    contentType,
    ...(contentEncoding === '' ? {} : { contentEncoding }),
    bytes: Number(bytes),
    ...(key === '' ? {} : { key }),
  };
}
