// SPDX-License-Identifier: Apache-2.0
// admission.k8s.io/v1 as the handlers see it: raw JSON of the API server, nothing defaulted.
import type { Operation } from 'fast-json-patch';

export interface GroupVersionKind {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
}

export interface UserInfo {
  readonly username?: string;
  readonly uid?: string;
  readonly groups?: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

export interface AdmissionRequest {
  readonly uid: string;
  readonly kind: GroupVersionKind;
  readonly resource: { readonly group: string; readonly version: string; readonly resource: string };
  readonly subResource?: string;
  /** Absent on a create by generateName. */
  readonly name?: string;
  readonly namespace?: string;
  readonly operation: 'CREATE' | 'UPDATE' | 'DELETE' | 'CONNECT';
  readonly userInfo: UserInfo;
  /** Absent on DELETE. */
  readonly object?: Readonly<Record<string, unknown>>;
  readonly oldObject?: Readonly<Record<string, unknown>>;
  /** Nothing may be written or counted as done for good. */
  readonly dryRun: boolean;
}

/** What is wrong with one field; `field` is a path such as `spec.worker.image`. */
export interface FieldCause {
  readonly field: string;
  /** What is wrong and what would be right, for people. */
  readonly message: string;
  readonly reason:
    | 'FieldValueInvalid'
    | 'FieldValueForbidden'
    | 'FieldValueNotSupported'
    | 'FieldValueRequired'
    | 'FieldValueNotFound';
}

export interface Refusal {
  /** 422 for fields, 403 for what the author may not do, 400 for a review that cannot be read, 503 for what could not be looked up. */
  readonly code: 400 | 403 | 422 | 503;
  readonly message: string;
  readonly causes?: readonly FieldCause[];
}

/** What a mutating handler did and why, for counters and the one log line of a mutation: never a body, never a value of the environment. */
export interface SliceReport {
  /** `mutated`: the patch slices something. `audited`: dry run, the patch only annotates. `noop`: nothing is sliced. */
  readonly outcome: 'mutated' | 'audited' | 'noop';
  /** Of a noop, why: a word of a short fixed list such as `no-gpu`, `not-opted-in`, `opted-out`, `already-sliced`, `not-synced`, `no-node`. A label value. */
  readonly reason?: string;
  /** A label value: training, inference, batch or dev; absent where a ratio, a memory share or the default decided. */
  readonly workloadType?: string;
  /** The rule of the policy that enrolled a pod without annotations. */
  readonly rule?: string;
  /** Whole GPUs that were asked for less the part of GPUs that is asked for now; ≥ 0. */
  readonly gpusSaved?: number;
  /** Names of the sliced containers. */
  readonly containers?: readonly string[];
}

/** A handler's answer. No `refusal`: allowed. */
export interface Verdict {
  readonly refusal?: Refusal;
  /** Shown by kubectl; each is cut at 256 bytes, and 4096 bytes in all. */
  readonly warnings?: readonly string[];
  /** RFC 6902; only mutating webhooks. */
  readonly patch?: readonly Operation[];
  /** Of mutating handlers. */
  readonly report?: SliceReport;
}

/** Never throws for bad input: that is a refusal. What it throws is answered with 500 and counted. `signal`: the deadline has passed. */
export type AdmissionHandler = (request: AdmissionRequest, signal: AbortSignal) => Verdict | Promise<Verdict>;
