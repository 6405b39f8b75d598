// SPDX-License-Identifier: Apache-2.0
import type { Complete } from './commits.ts';
import type { RequestOutcome } from './request-outcome.ts';

/**
 * The contract of the lease queue. Two drivers keep it: `redis` (own Lua) and `embedded` (TypeScript, written through to SQLite);
 * one conformance suite holds both to it. All times are milliseconds on the queue's own clock (Redis' TIME, or the process's).
 * Every method takes an optional `now` that only tests set.
 */

export const LANES = ['online', 'batch'] as const;
export type Lane = (typeof LANES)[number];

export const FINAL_STATES = ['succeeded', 'failed', 'cancelled', 'expired'] as const;
export type FinalState = (typeof FINAL_STATES)[number];
export type RequestState = 'queued' | 'leased' | FinalState;

/** Bodies and results up to this size live in the record; larger ones in the object store. */
export const INLINE_LIMIT_BYTES = 16 * 1024;

/** Where bytes live: `inline` or `key` (an object's name), never both, neither for zero bytes. */
export interface Payload {
  readonly contentType: string;
  /** Content-Encoding the bytes are stored in (`gzip`), absent for identity. */
  readonly contentEncoding?: string;
  readonly bytes: number;
  readonly inline?: Uint8Array;
  readonly key?: string;
}

/** Why an attempt ended without a result. */
export interface Cause {
  /**
   * `lost`: the lease ran out (the unit died or hung); `handler`: the handler threw; `input`: the handler says that the input is bad,
   * never retried; `timeout`: longer than the app's timeoutSeconds; `released`: given back unfinished (no budget is charged).
   */
  readonly kind: 'lost' | 'handler' | 'input' | 'timeout' | 'released';
  /** A sentence for people, at most 2 KiB. */
  readonly message: string;
}

/** One line of a request's attempt timeline. */
export interface Attempt {
  readonly epoch: number;
  readonly unit: string;
  readonly leasedAt: number;
  readonly endedAt?: number;
  /** 'succeeded', or why it ended. Absent while it runs. */
  readonly outcome?: 'succeeded' | Cause['kind'];
  readonly message?: string;
}

/** How often a request may be tried again. Two budgets: errors of the handler, and units lost under it. */
export interface RetryBudget {
  /** Attempts that may end by an error of the handler, the first included: 1 = never again. */
  readonly maxAttempts: number;
  /** Lost units that are forgiven: 0 = the first loss ends it. */
  readonly maxLosses: number;
}

/** What a tenant may have of one app. The gateway knows it from the tenants' document; the queue keeps the last one it was told. */
export interface TenantShare {
  /** 1 … 1 000; GPU time is shared in this proportion. */
  readonly weight: number;
  /** Leases that the tenant may hold of this app at once; absent = no bound. */
  readonly maxInFlight?: number;
  /** Requests that it may have queued in this app; absent = no bound. */
  readonly maxQueued?: number;
}

export interface NewRequest {
  /** UUIDv7. */
  readonly id: string;
  /** uid of the app. */
  readonly app: string;
  readonly tenant: string;
  readonly lane: Lane;
  readonly revision: string;
  /** Higher goes first; 0 is the default. −1000 … 1000. */
  readonly priority: number;
  /** Past it the request expires and never runs. */
  readonly deadline?: number;
  /** GPU time that the client expects, in integer µGPU-seconds; 0 = not said: the queue charges what it has learned. */
  readonly cost: number;
  /** Default: what the queue was told of this tenant last, else weight 1 without bounds. */
  readonly share?: TenantShare;
  readonly body: Payload;
  /** Scoped key under which an equal request joins this one: see `dedupeKey`. */
  readonly dedupeKey: string;
  /** SHA-256 of decoded body and content type, set when the key was chosen by the client: the same key with other content is refused. */
  readonly fingerprint?: string;
  readonly retry: RetryBudget;
  /** How long the record outlives its end. */
  readonly retentionMs: number;
  readonly traceparent?: string;
}

export interface RequestRecord extends Omit<NewRequest, 'fingerprint' | 'share'> {
  readonly state: RequestState;
  readonly createdAt: number;
  readonly finishedAt?: number;
  /** Epoch of the last lease; 0 before the first. */
  readonly epoch: number;
  readonly attempts: readonly Attempt[];
  /** Attempts and losses spent so far. */
  readonly failures: number;
  readonly losses: number;
  /** Set on `succeeded`. */
  readonly result?: Payload;
  /** Set on `failed`. */
  readonly cause?: Cause;
  /** Whether a past-budget request waits in the dead letters. */
  readonly deadLetter: boolean;
  /** The request that a redrive made of this dead letter. */
  readonly redrivenAs?: string;
  /** Service time of the attempt that succeeded, in µs. */
  readonly serviceMicros?: number;
  /** A cancel that a leased request's unit has not heard of yet. */
  readonly cancelRequested: boolean;
}

export type EnqueueOutcome =
  | { readonly kind: 'queued' | 'joined'; readonly record: RequestRecord }
  /** The explicit key exists with another fingerprint. */
  | { readonly kind: 'conflict'; readonly id: string }
  /** The app is being purged, or was. */
  | { readonly kind: 'closed' }
  /** The tenant has as many queued as its share allows; nothing was stored. */
  | { readonly kind: 'full'; readonly queued: number; readonly limit: number };

/** Proof of holding a lease: `epoch` counts the leases of the request, `nonce` is 64 random bits in hex drawn by the gateway. */
export interface LeaseToken {
  readonly epoch: number;
  readonly nonce: string;
}

export interface Held {
  readonly id: string;
  readonly token: LeaseToken;
}

export interface Lease extends Held {
  readonly record: RequestRecord;
  readonly expiresAt: number;
}

export interface LeaseRequest {
  readonly app: string;
  readonly unit: string;
  readonly revision: string;
  readonly lanes: readonly Lane[];
  /** At most this many leases. 0 just announces the unit and asks for the verdict. */
  readonly max: number;
  readonly leaseMs: number;
  /** One fresh nonce per possible lease, `max` of them. The same first nonce again is the same call again: it answers what that one gave. */
  readonly nonces: readonly string[];
  /** Part of a GPU that one lease of this unit occupies, in millionths (2 GPUs = 2 000 000); default 1 000 000. Multiplies measured and learned time. */
  readonly fractionMicros?: number;
  /** How long the oldest batch request waits behind online work before both lanes share; default `STARVATION_GRACE_MS`. */
  readonly starvationGraceMs?: number;
  /** The app's current revision; a unit of another one is told to leave when it holds nothing and nothing of its revision waits. */
  readonly currentRevision: string;
  /** Units that stay although there is nothing to do. */
  readonly floor: number;
  /** How long a unit stays without work. */
  readonly lingerMs: number;
  /** 'Paused' gives nothing and sends units away; 'Draining' gives what is queued, then sends them away whatever the floor. */
  readonly desiredState: 'Ready' | 'Paused' | 'Draining';
}

export interface LeaseAnswer {
  readonly leases: readonly Lease[];
  /**
   * 'leave' retires the unit in the same atomic step: it can never lease or extend again. Only ever with no leases given and none held.
   * 'refused': the unit was retired before.
   */
  readonly verdict: 'stay' | 'leave' | 'refused';
  /** When asking again could change the verdict although no work arrives (end of the linger); absent = never. */
  readonly recheckAt?: number;
}

export interface ExtendOutcome {
  readonly id: string;
  readonly ok: boolean;
  readonly expiresAt?: number;
  /** The client cancelled: stop, and release or complete as you like. */
  readonly cancel?: boolean;
}

export interface Completion extends Held {
  readonly result: Payload;
  /** Measured service time in µs. */
  readonly serviceMicros: number;
}

export interface Failure extends Held {
  readonly cause: Cause;
}

export interface DeadLetterFilter {
  readonly tenant?: string;
  readonly kind?: Cause['kind'];
  /** Unix ms: died at or after, and before. */
  readonly since?: number;
  readonly until?: number;
}

export interface DeadLetterPage {
  /** Oldest death first. Of a page that is empty but has a cursor nothing matched yet. */
  readonly letters: readonly RequestRecord[];
  /** Hand it back to go on; absent at the end. */
  readonly cursor?: string;
}

/** A dead letter goes in again as a request of its own (final states are immutable): `newId` is a fresh UUIDv7. */
export interface Redrive {
  readonly id: string;
  readonly newId: string;
  /** The app's current revision. */
  readonly revision: string;
  /** Of the letter's tenant, as in `NewRequest`: the queue may have forgotten it since. Its bound on queued ones refuses no redrive. */
  readonly share?: TenantShare;
}

export type RedriveOutcome =
  /** `record` is the new request, or (a repeat of the call) the one that an earlier call made; `joined`: an equal live request was there. */
  | { readonly kind: 'redriven' | 'joined'; readonly record: RequestRecord }
  /** Not a dead letter of this app (any more). */
  | { readonly kind: 'unknown' }
  | { readonly kind: 'closed' };

/** A live request as recovery sees it. */
export interface LivePage {
  readonly records: readonly RequestRecord[];
  readonly cursor?: string;
}

/**
 * The queue was found to have gone back in time: `seen` is the highest generation known of the app, `found` what it answered.
 * `restarted`: its process is another one than the one known (Redis' run_id), which alone proves no loss.
 */
export type Regression =
  | { readonly kind: 'went-back'; readonly app: string; readonly seen: number; readonly found: number }
  | { readonly kind: 'restarted'; readonly run: string };

/** 'committed' also answers the repeat of a call whose answer was lost; 'lost' = the token is not the last one, or the request has ended otherwise. */
export type CommitOutcome = 'committed' | 'lost' | 'cancelled';
export type FailOutcome = 'requeued' | 'failed' | 'lost' | 'cancelled';
export type CancelOutcome = 'cancelled' | 'cancelling' | 'final' | 'unknown';

export interface UnitView {
  readonly unit: string;
  readonly revision: string;
  readonly leases: number;
  readonly lastSeenAt: number;
  readonly retired: boolean;
}

export interface AppDemand {
  readonly queued: number;
  /** Queued by revision: work of an older one is served by its units until they have left. */
  readonly queuedByRevision: Readonly<Record<string, number>>;
  readonly leased: number;
  readonly oldestQueuedAt?: number;
  readonly units: readonly UnitView[];
}

export type QueueEvent =
  /** Something may be leased in this app (also: a verdict may have changed). */
  | { readonly type: 'ready'; readonly app: string }
  /** This request has reached a final state. */
  | { readonly type: 'done'; readonly app: string; readonly id: string };

export interface PurgeStep {
  /** Nothing of the app is left in the queue. False while leases run out or more steps are needed. */
  readonly done: boolean;
  /** Leases still run: another step now would change nothing. */
  readonly waiting?: boolean;
  /** Object keys that lost their owner in this step; the caller deletes them, then calls `forget`. */
  readonly orphans: readonly string[];
}

export interface ExpireStep {
  /** When the next call is due; absent = nothing is scheduled. */
  readonly nextAt?: number;
  /** Leases and deadlines that this call ended. */
  readonly expired: number;
  /** Requests that spent one of their budgets since the last call of any process, whichever call ended them. */
  readonly deadLetters: number;
}

export interface SweepStep {
  /** Object keys that have lost their owner; the caller deletes them, then calls `forget`. */
  readonly keys: readonly string[];
  /** The step ended at one of its bounds: another one now would find more. */
  readonly more: boolean;
}

/** What a queue remembers of an app when its records are gone. */
export interface AppRemains {
  /** It is being purged, or was in the last days: no record of it will ever be made again. */
  readonly closed: boolean;
  /** When the newest of the requests was made (Unix ms, the time in its id) whose record a retention sweep has removed; 0 = none. */
  readonly sweptUpTo: number;
}

/** What the durability of the store really is, read from the store, not assumed. */
export type Durability = 'fsync' | 'everysec' | 'none';

export interface LeaseQueue {
  /**
   * Atomic per request; the order of outcomes is that of the requests. Returns after the write is as durable as `durability()` says.
   * The repeat of a call (same id) answers `queued` with the record as it is. The body object of a request that joined or conflicts
   * has no owner: the next sweep answers its key; that of a `closed` or `full` one is the caller's to delete.
   */
  enqueue(requests: readonly NewRequest[], now?: number): Promise<readonly EnqueueOutcome[]>;
  lease(request: LeaseRequest, now?: number): Promise<LeaseAnswer>;
  extend(
    app: string,
    unit: string,
    held: readonly Held[],
    leaseMs: number,
    now?: number,
  ): Promise<readonly ExtendOutcome[]>;
  readonly complete: Complete;
  /** Handler errors (or bad input: ends at once). Requeues with the original order key while the budget lasts. */
  fail(app: string, unit: string, failed: readonly Failure[], now?: number): Promise<readonly FailOutcome[]>;
  /** Gives leases back unfinished: requeued with the original order key, no budget charged. */
  release(
    app: string,
    unit: string,
    held: readonly Held[],
    now?: number,
  ): Promise<readonly ('requeued' | 'lost' | 'cancelled')[]>;
  get(app: string, id: string): Promise<RequestRecord | undefined>;
  /** The same for those who wait, without what they sent themselves. */
  outcome(app: string, id: string): Promise<RequestOutcome | undefined>;
  cancel(app: string, id: string, now?: number): Promise<CancelOutcome>;
  /**
   * Ends leases and deadlines that have passed, forgets units unseen for long, re-keys work of revisions without a unit, in bounded
   * steps. `current`: the current revision of each app known.
   */
  expire(current: ReadonlyMap<string, string>, now?: number): Promise<ExpireStep>;
  /** 'busy' while the unit holds a live lease; else the unit can never lease or extend again. Unknown units are retired too. */
  retire(app: string, unit: string, now?: number): Promise<'retired' | 'busy'>;
  demand(app: string): Promise<AppDemand>;
  /** New shares of tenants (a changed document). Those of whom the app's queue knows nothing are left out; at most `MAX_BATCH` of a call. */
  setShares(app: string, shares: ReadonlyMap<string, TenantShare>, now?: number): Promise<void>;
  /** One page of the dead letters, `limit` records looked at: of a filter by tenant none of others, so that nothing tells of them. */
  deadLetters(app: string, filter: DeadLetterFilter, limit: number, cursor?: string): Promise<DeadLetterPage>;
  redrive(app: string, letters: readonly Redrive[], now?: number): Promise<readonly RedriveOutcome[]>;
  /** Takes dead letters off the list: their records go with the next sweep past their retention. Their number. */
  discard(app: string, ids: readonly string[], now?: number): Promise<number>;
  /** How many dead letters an app has. */
  deadLetterCount(app: string): Promise<number>;
  /** The highest generation that each app's queue has answered to this process; it grows with every change. */
  generations(): ReadonlyMap<string, number>;
  /** Identity of the store's running process; another one after every restart. */
  run(): Promise<string>;
  /** Hears of every regression that this process sees; at most once for each app and process of the store. */
  onRegression(listener: (found: Regression) => void): () => void;
  /** The app's generation, read from the queue; raised to `atLeast` when that is more, so that what is lost once is not reported again. */
  generation(app: string, atLeast?: number): Promise<number>;
  /** One page of the queued and leased requests, payload bytes left out. Requests that come or go meanwhile may be missed. */
  live(app: string, limit: number, cursor?: string): Promise<LivePage>;
  /** Recovery: a result that lies in the object store for a request that has not ended. 'lost' when it has ended, or is not known. */
  salvage(app: string, id: string, result: Payload, now?: number): Promise<'committed' | 'lost'>;
  remains(app: string): Promise<AppRemains>;
  /**
   * One bounded step of removing finished records past their retention and objects of losing attempts, `limit` keys at most. No app waits
   * for another one that always has something to remove.
   */
  sweep(limit: number, now?: number): Promise<SweepStep>;
  /** Object keys were deleted; a key that is not acknowledged comes again in a later sweep or purge step. */
  forget(keys: readonly string[]): Promise<void>;
  /**
   * Names an object that an attempt may leave behind: a minted upload, one key per attempt. Swept when its attempt does not commit it,
   * an hour after the last note at the earliest (the upload URL must not live longer). True whenever `complete` would take the result,
   * so also after the lease ran out, as long as nobody has leased the request again.
   */
  noteObject(app: string, id: string, token: LeaseToken, key: string, now?: number): Promise<boolean>;
  /** One bounded step of removing an app: closes it for new work, cancels what is queued, waits for leases, removes records and keys. */
  purge(app: string, limit: number, now?: number): Promise<PurgeStep>;
  /**
   * Has a credential refused by every process on this queue until then (Unix ms); a repeat only ever prolongs it. False: there are
   * `REVOCATIONS_MAX` already.
   */
  revoke(entry: string, until: number, now?: number): Promise<boolean>;
  /** All that is refused, by its end; ended ones may be among them. */
  revocations(): Promise<ReadonlyMap<string, number>>;
  /** Wake-ups from every process on this queue. May be lost: the listener re-checks every 5 s anyway. */
  subscribe(listener: (event: QueueEvent) => void): () => void;
  durability(): Promise<Durability>;
  /** Throws when the store can't be reached: readiness. */
  ping(): Promise<void>;
  close(): Promise<void>;
}
