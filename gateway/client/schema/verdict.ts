// SPDX-License-Identifier: Apache-2.0
// What the gateway and its validator threads say to each other.

/** One thing that is wrong with a body. */
export interface BodyFault {
  /** RFC 6901, from the root of the body; '' is the body itself. */
  readonly pointer: string;
  readonly detail: string;
}

export type BodyVerdict =
  | { readonly kind: 'fits' }
  /** `more`: there are faults beyond those listed. */
  | { readonly kind: 'misfits'; readonly errors: readonly BodyFault[]; readonly more: boolean };

export type LoadVerdict =
  | { readonly kind: 'loaded'; readonly ms: number }
  | { readonly kind: 'unusable'; readonly reason: string };

/** A schema under the name that checks use for it. */
export interface LoadCall {
  readonly call: 'load';
  readonly id: string;
  /** JSON. */
  readonly source: string;
}

/** Bodies to be checked one after another; the place of the one at hand is written to the shared counter. */
export interface CheckCall {
  readonly call: 'check';
  readonly jobs: readonly { readonly id: string; readonly body: string }[];
}

export type ThreadCall = LoadCall | CheckCall | { readonly call: 'drop'; readonly id: string };

export type ThreadAnswer =
  | { readonly answer: 'ready' }
  | { readonly answer: 'load'; readonly verdict: LoadVerdict }
  | { readonly answer: 'check'; readonly verdicts: readonly BodyVerdict[] };
