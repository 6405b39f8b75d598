// SPDX-License-Identifier: Apache-2.0
/**
 * The worker broker's wire, /internal/v1 (DESIGN §4). Field names are snake_case on the wire; times are Unix milliseconds,
 * durations seconds unless the name says otherwise, bytes are base64 where they travel inside JSON.
 */

/** Largest body that travels inline in a lease: the queue's inline limit. */
export const WIRE_INLINE_LIMIT_BYTES = 16 * 1024;
/**
 * Largest result that travels inline in `complete`. Up to here one call beats three (upload-url, PUT, complete); beyond, the third more
 * that base64 takes, and the memory of both sides, cost more than the calls.
 */
export const RESULT_INLINE_LIMIT_BYTES = 256 * 1024;
/** Inline results of one `complete` together: 64 of 16 KiB, or 4 of the largest. */
export const COMPLETE_INLINE_MAX_BYTES = 1024 * 1024;
/** Longest blocking lease: below common proxies' idle limit of 60 s. */
export const LEASE_WAIT_MAX_SECONDS = 30;
/**
 * Most leases in one call. A unit makes one lease call at a time: of 64 each, the way there and back bounded it to 4000 requests a second.
 * Redis works on 128 for 2.5 ms, and with bodies of 16 KiB each the answer has 2.8 MiB.
 */
export const LEASE_BATCH_MAX = 128;

/** POST token, Authorization: Bearer <unit token>. */
export interface TokenAnswer {
  readonly token: string;
  readonly expires_at: number;
}

export interface LeaseCall {
  /** 0 … LEASE_BATCH_MAX. 0 announces the unit and asks for the verdict. */
  readonly max: number;
  /** How long to wait for work, 0 … LEASE_WAIT_MAX_SECONDS. */
  readonly wait_seconds: number;
  /** Default: both. Which of them goes first is the queue's decision. */
  readonly lanes?: readonly ('online' | 'batch')[];
  /** Default: one place for one request. Its revision is no matter of its word: that comes from its token. */
  readonly capability?: WireCapability;
  /** Requests that the unit holds while it asks for more; default 0. A hint: the queue knows better. */
  readonly held?: number;
}

/** What the unit has to work with: from it and the app's GPUs follows which part of a GPU one request occupies. */
export interface WireCapability {
  readonly archetype: 'Handler' | 'Sidecar';
  /** Copies of the handler, each of which works at one batch at a time. */
  readonly instances: number;
  /** Most requests that it holds at once. */
  readonly concurrency: number;
}

/** Bytes in JSON, or a URL to fetch them from without any credential. */
export interface WirePayload {
  readonly content_type: string;
  readonly content_encoding?: string;
  readonly bytes: number;
  /** base64; absent when `url` is set or there are no bytes. */
  readonly inline?: string;
  readonly url?: string;
}

export interface WireLease {
  readonly id: string;
  /** Opaque; goes back in every call about this lease. */
  readonly lease_token: string;
  readonly lane: 'online' | 'batch';
  /** 1 for the first. */
  readonly attempt: number;
  readonly tenant: string;
  readonly body: WirePayload;
  /** Seconds the lease lasts from now; extend at a third of it. */
  readonly lease_seconds: number;
  /** Budget of one execution. */
  readonly timeout_seconds: number;
  readonly deadline?: number;
  readonly traceparent?: string;
}

export interface LeaseReply {
  readonly leases: readonly WireLease[];
  readonly verdict: 'stay' | 'leave';
}

export interface WireHeld {
  readonly id: string;
  readonly lease_token: string;
}

export interface ExtendCall {
  readonly leases: readonly WireHeld[];
}

export interface ExtendReply {
  readonly leases: readonly { readonly id: string; readonly ok: boolean; readonly cancel?: boolean }[];
}

/** A result inline (RESULT_INLINE_LIMIT_BYTES), or the `name` that upload-url answered for bytes already put there. */
export interface WireResult {
  readonly content_type: string;
  readonly content_encoding?: string;
  readonly bytes: number;
  readonly inline?: string;
  readonly name?: string;
}

export interface CompleteCall {
  readonly results: readonly (WireHeld & { readonly result: WireResult; readonly service_micros: number })[];
}

export interface CompleteReply {
  readonly results: readonly { readonly id: string; readonly outcome: 'committed' | 'lost' | 'cancelled' }[];
}

export interface WireCause {
  readonly kind: 'handler' | 'input' | 'timeout';
  readonly message: string;
}

export interface FailCall {
  readonly failures: readonly (WireHeld & { readonly cause: WireCause })[];
}

export interface FailReply {
  readonly failures: readonly {
    readonly id: string;
    readonly outcome: 'requeued' | 'failed' | 'lost' | 'cancelled';
  }[];
}

export interface ReleaseCall {
  readonly leases: readonly WireHeld[];
}

export interface ReleaseReply {
  readonly leases: readonly { readonly id: string; readonly outcome: 'requeued' | 'lost' | 'cancelled' }[];
}

export interface UploadUrlCall extends WireHeld {
  readonly content_type: string;
  /** As `complete` will say it: the object alone must tell what its bytes are, should the record be lost. */
  readonly content_encoding?: string;
  readonly bytes: number;
}

export interface UploadUrlReply {
  readonly url: string;
  readonly method: 'PUT';
  readonly headers: Readonly<Record<string, string>>;
  /** Hand it to `complete` as result.name. */
  readonly name: string;
  readonly expires_at: number;
}
