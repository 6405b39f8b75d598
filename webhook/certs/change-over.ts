// SPDX-License-Identifier: Apache-2.0
// When a replica changes over from the leaf that it serves to the one of the Secret: pure, as a call is lost by a moment too early.
import type { CertificateTimes } from './times.ts';
import { isUsable } from './plan.ts';
import type { Leaf } from './trust.ts';

export interface Moment {
  /** What the Secret says. */
  readonly stored: Leaf;
  readonly served: Leaf | undefined;
  /** For how long every caBundle has been seen to hold the stored leaf's CA; undefined: not all of them do. */
  readonly trustedForMs: number | undefined;
  readonly host: string;
  readonly now: number;
  readonly times: CertificateTimes;
}

/** `now`: serve the stored one (or go on with it). `later`: serve on, and look again after that time. */
export type ChangeOver = { readonly when: 'now' } | { readonly when: 'later'; readonly waitMs: number };

export function changeOver({ stored, served, trustedForMs, host, now, times }: Moment): ChangeOver {
  const isServed = stored.chain === served?.chain && stored.key === served.key;
  // With nothing else that an API server would accept there is nothing to lose.
  if (isServed || served === undefined || !isUsable(served, host, now)) return { when: 'now' };
  const settlesMs = trustedForMs === undefined ? times.checkMs : times.propagationMs - trustedForMs;
  // Written by a replica whose clock is ahead: API servers refuse it until then.
  const beginsMs = stored.certificate.validFromDate.getTime() - now;
  const waitMs = Math.max(settlesMs, beginsMs);
  return waitMs > 0 ? { when: 'later', waitMs } : { when: 'now' };
}
