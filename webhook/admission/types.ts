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

/** A handler's answer. No `refusal`: allowed. */
export interface Verdict {
  readonly refusal?: Refusal;
  /** Shown by kubectl; each is cut at 256 bytes, and 4096 bytes in all. */
  readonly warnings?: readonly string[];
  /** RFC 6902; only mutating webhooks. */
  readonly patch?: readonly Operation[];
}

/** Never throws for bad input: that is a refusal. What it throws is answered with 500 and counted. `signal`: the deadline has passed. */
export type AdmissionHandler = (request: AdmissionRequest, signal: AbortSignal) => Verdict | Promise<Verdict>;
