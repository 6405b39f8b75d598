// SPDX-License-Identifier: Apache-2.0

/** Durations in milliseconds. */
export interface CertificateTimes {
  /** Life of a CA. */
  readonly authorityMs: number;
  /** Life of a leaf. */
  readonly leafMs: number;
  /** A leaf is renewed when less than this is left; an older CA stays trusted for as long. */
  readonly lookaheadMs: number;
  /** From seeing a caBundle written until every API server has surely read it too. */
  readonly propagationMs: number;
  /** Between two looks when nothing happens. */
  readonly checkMs: number;
}

const DAY_MS = 24 * 3600 * 1000;

/** Those of Gatekeeper's and kueue's cert-controller; renewed early enough that a quarter without a running webhook is no outage. */
const DEFAULT_TIMES: CertificateTimes = {
  authorityMs: 10 * 365 * DAY_MS,
  leafMs: 365 * DAY_MS,
  lookaheadMs: 90 * DAY_MS,
  propagationMs: 30_000,
  checkMs: 60_000,
};

/** @throws TypeError when a new leaf would be due for renewal at once, or would outlive every CA */
export function certificateTimes(given: Partial<CertificateTimes> = {}): CertificateTimes {
  const times = { ...DEFAULT_TIMES, ...given };
  if (!(times.lookaheadMs < times.leafMs)) {
    throw new TypeError('certificates: the time before its end at which one is renewed must be less than its life');
  }
  if (!(times.leafMs <= times.authorityMs))
    throw new TypeError('certificates: a CA must live as long as what it signs');
  return times;
}
