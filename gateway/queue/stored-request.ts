// SPDX-License-Identifier: Apache-2.0
import type { Attempt, Lane, NewRequest, Payload, RequestRecord, RequestState } from './lease-queue.ts';
import type { RequestOutcome } from './request-outcome.ts';

/** What never changes after enqueue, bodies' bytes apart. Its JSON is opaque to Lua. */
export interface FixedPart {
  readonly cost: number;
  readonly priority: number;
  readonly body: PayloadMeta;
  readonly dedupeKey: string;
  readonly traceparent?: string;
}

export type PayloadMeta = Omit<Payload, 'inline'>;

/** A request as both drivers hold it; `toRecord` makes the public view of it. */
export interface StoredRequest {
  readonly id: string;
  readonly app: string;
  readonly fixed: FixedPart;
  readonly tenant: string;
  readonly lane: Lane;
  /** 0 = none. */
  readonly deadline: number;
  readonly maxAttempts: number;
  readonly maxLosses: number;
  readonly retentionMs: number;
  readonly createdAt: number;
  /** The app's running number of arrivals. */
  readonly seq: number;
  readonly score: number;
  /** Work queued for a revision without units moves to the current one. */
  revision: string;
  state: RequestState;
  epoch: number;
  /** Empty once the holder has given the lease back: then nothing matches. */
  nonce: string;
  unit: string;
  leasedAt: number;
  failures: number;
  losses: number;
  cancelRequested: boolean;
  deadLetter: boolean;
  /** The request that a redrive made of it. */
  redrivenAs?: string;
  /** 0 = not yet. */
  finishedAt: number;
  serviceMicros: number;
  /** Attempts that ended without a result, oldest first. */
  ended: Attempt[];
  result?: PayloadMeta;
}

export function fixedPart(request: NewRequest): FixedPart {
  return {
    cost: request.cost,
    priority: request.priority,
    body: payloadMeta(request.body),
    dedupeKey: request.dedupeKey,
    ...(request.traceparent === undefined ? {} : { traceparent: request.traceparent }),
  };
}

export function payloadMeta(payload: Payload): PayloadMeta {
  const { inline: _inline, ...meta } = payload;
  return meta;
}

/** @param body inline bytes of the request, where it has some @param result inline bytes of the result */
export function toRecord(
  stored: StoredRequest,
  body: Uint8Array | undefined,
  result: Uint8Array | undefined,
): RequestRecord {
  const { fixed } = stored;
  return {
    ...toOutcome(stored, result),
    tenant: stored.tenant,
    lane: stored.lane,
    revision: stored.revision,
    priority: fixed.priority,
    ...(stored.deadline === 0 ? {} : { deadline: stored.deadline }),
    cost: fixed.cost,
    body: withInline(fixed.body, body),
    dedupeKey: fixed.dedupeKey,
    retry: { maxAttempts: stored.maxAttempts, maxLosses: stored.maxLosses },
    retentionMs: stored.retentionMs,
    ...(fixed.traceparent === undefined ? {} : { traceparent: fixed.traceparent }),
    createdAt: stored.createdAt,
    epoch: stored.epoch,
    failures: stored.failures,
    losses: stored.losses,
    ...(stored.redrivenAs === undefined ? {} : { redrivenAs: stored.redrivenAs }),
    cancelRequested: stored.cancelRequested,
  };
}

export type StoredOutcome = Pick<
  StoredRequest,
  | 'id'
  | 'app'
  | 'state'
  | 'epoch'
  | 'unit'
  | 'leasedAt'
  | 'finishedAt'
  | 'retentionMs'
  | 'serviceMicros'
  | 'ended'
  | 'deadLetter'
  | 'result'
>;

/** @param result inline bytes of the result */
export function toOutcome(stored: StoredOutcome, result: Uint8Array | undefined): RequestOutcome {
  const last = stored.ended.at(-1);
  return {
    id: stored.id,
    app: stored.app,
    state: stored.state,
    retentionMs: stored.retentionMs,
    attempts: timeline(stored),
    ...(stored.finishedAt === 0 ? {} : { finishedAt: stored.finishedAt }),
    ...(stored.result === undefined
      ? {}
      : { result: withInline(stored.result, result), serviceMicros: stored.serviceMicros }),
    ...(stored.state === 'failed' && last?.outcome !== undefined && last.outcome !== 'succeeded'
      ? { cause: { kind: last.outcome, message: last.message ?? '' } }
      : {}),
    deadLetter: stored.deadLetter,
  };
}

function withInline(meta: PayloadMeta, inline: Uint8Array | undefined): Payload {
  return inline === undefined || inline.byteLength === 0 ? meta : { ...meta, inline };
}

function timeline(stored: StoredOutcome): readonly Attempt[] {
  const running = { epoch: stored.epoch, unit: stored.unit, leasedAt: stored.leasedAt };
  if (stored.state === 'leased') return [...stored.ended, running];
  if (stored.state !== 'succeeded') return [...stored.ended];
  // A result may come after its lease ran out: then the same attempt stands among the ended ones as lost, and the result outweighs that.
  const before = stored.ended.filter((attempt) => attempt.epoch !== stored.epoch);
  return [...before, { ...running, endedAt: stored.finishedAt, outcome: 'succeeded' }];
}
