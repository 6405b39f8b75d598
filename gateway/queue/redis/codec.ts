// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { LANES } from '../lease-queue.ts';
import type { Attempt, Held, Lane, NewRequest, Payload, RequestRecord, RequestState } from '../lease-queue.ts';
import { orderScore } from '../order.ts';
import { fixedPart, payloadMeta, toRecord } from '../stored-request.ts';
import type { FixedPart, PayloadMeta } from '../stored-request.ts';
import { LANE_NUMBERS, STATE_FIELDS, STATES } from './lua/core.ts';
import { unpack } from './msgpack.ts';
import type { Packed } from './msgpack.ts';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
const LENGTH_BYTES = 4;
const PLACES = new Map(STATE_FIELDS.map((name, place) => [name, place]));

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
    request.fingerprint ?? '',
    orderScore(request.priority, request.deadline),
    LANE_NUMBERS[request.lane] ?? 0,
    request.tenant,
    request.revision,
    request.deadline ?? 0,
    request.retry.maxAttempts,
    request.retry.maxLosses,
    request.retentionMs,
    request.body.key ?? '',
    pair(packFixed(fixedPart(request)), request.body.inline),
  ];
}

/** The record of a request that was queued just now, without reading it back. */
export function newRecord(request: NewRequest, createdAt: number): RequestRecord {
  const { fingerprint: _fingerprint, ...kept } = request;
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
  return pair(packMeta(payloadMeta(result)), result.inline);
}

/** What scripts answer of a request: id, state, fixed part, result, ended attempts; the last two may be empty. */
export function decodeRecord(app: string, parts: readonly (Buffer | undefined)[]): RequestRecord {
  return decodeLease(app, parts).record;
}

/** The same, with the token of its last lease. */
export function decodeLease(
  app: string,
  parts: readonly (Buffer | undefined)[],
): Held & { readonly record: RequestRecord } {
  const [id, state, fixed, result, ended] = parts;
  if (id === undefined || state === undefined || fixed === undefined) throw new Error('the queue holds half a record');
  const field = fieldsOf(unpack(state));
  const body = split(fixed);
  const outcome = result === undefined || result.length === 0 ? undefined : split(result);
  const record = toRecord(
    {
      id: unpackId(id),
      app,
      fixed: unpackFixed(body.meta as PackedFixed),
      tenant: String(field('TENANT')),
      lane: LANES[Number(field('LANE'))] as Lane,
      deadline: Number(field('DEADLINE')),
      maxAttempts: Number(field('MAX_ATTEMPTS')),
      maxLosses: Number(field('MAX_LOSSES')),
      retentionMs: Number(field('RETENTION')),
      createdAt: Number(field('CREATED')),
      seq: Number(field('SEQ')),
      score: Number(field('SCORE')),
      revision: String(field('REV')),
      state: STATES[Number(field('STATE'))] as RequestState,
      epoch: Number(field('EPOCH')),
      nonce: String(field('NONCE')),
      unit: String(field('UNIT')),
      leasedAt: Number(field('LEASED_AT')),
      failures: Number(field('FAILURES')),
      losses: Number(field('LOSSES')),
      cancelRequested: field('CANCEL') === 1,
      deadLetter: field('DEAD') === 1,
      finishedAt: Number(field('FINISHED')),
      serviceMicros: Number(field('SERVICE')),
      ended: attempts(ended),
      ...(outcome === undefined ? {} : { result: unpackMeta(outcome.meta as PackedMeta) }),
    },
    body.bytes,
    outcome?.bytes,
  );
  return { id: record.id, token: { epoch: record.epoch, nonce: String(field('NONCE')) }, record };
}

function fieldsOf(state: Packed): (name: (typeof STATE_FIELDS)[number]) => Packed {
  if (!Array.isArray(state) || state.length !== STATE_FIELDS.length)
    throw new Error('the queue holds a state of another layout');
  return (name) => (state as readonly Packed[])[PLACES.get(name) ?? -1] ?? null;
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

/** 128 bits of SHA-256: whoever could make two keys collide would join a request that is already scoped to the same tenant. */
function digest(dedupeKey: string): Buffer {
  return createHash('sha256').update(dedupeKey).digest().subarray(0, 16);
}

/** Arrays instead of objects: the names would be a third of what a small queued request takes. 0 stands for what is absent. */
type PackedMeta = readonly [contentType: string, bytes: number, contentEncoding: string | 0, key: string | 0];
type PackedFixed = readonly [
  cost: number,
  priority: number,
  body: PackedMeta,
  dedupeKey: string,
  traceparent: string | 0,
];

function packMeta(meta: PayloadMeta): PackedMeta {
  return [meta.contentType, meta.bytes, meta.contentEncoding ?? 0, meta.key ?? 0];
}

function unpackMeta([contentType, bytes, contentEncoding, key]: PackedMeta): PayloadMeta {
  return { contentType, ...(contentEncoding === 0 ? {} : { contentEncoding }), bytes, ...(key === 0 ? {} : { key }) };
}

function packFixed(fixed: FixedPart): PackedFixed {
  return [fixed.cost, fixed.priority, packMeta(fixed.body), fixed.dedupeKey, fixed.traceparent ?? 0];
}

function unpackFixed([cost, priority, body, dedupeKey, traceparent]: PackedFixed): FixedPart {
  return { cost, priority, body: unpackMeta(body), dedupeKey, ...(traceparent === 0 ? {} : { traceparent }) };
}

/** JSON and bytes in one value: length of the JSON, JSON, bytes. */
function pair(meta: unknown, bytes: Uint8Array | undefined): Buffer {
  const json = Buffer.from(JSON.stringify(meta));
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32BE(json.length);
  return Buffer.concat(bytes === undefined ? [length, json] : [length, json, bytes]);
}

function split(value: Buffer): { readonly meta: unknown; readonly bytes: Buffer } {
  const end = LENGTH_BYTES + value.readUInt32BE(0);
  return { meta: JSON.parse(value.toString('utf8', LENGTH_BYTES, end)) as unknown, bytes: value.subarray(end) };
}
