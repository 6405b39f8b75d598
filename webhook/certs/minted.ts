// SPDX-License-Identifier: Apache-2.0
import type { KeyObject, X509Certificate } from 'node:crypto';

/** Certificates begin this much earlier, for API servers whose clock is behind ours. */
export const BACKDATE_MS = 3_600_000;

/** A certificate with the key that belongs to it. */
export interface Minted {
  readonly certificate: X509Certificate;
  /** PKCS #8 PEM. Secret. */
  readonly key: string;
}

/** Whether we can sign by it: only by a key of the same kind as ours (what others put into the Secret may be RSA). */
export function canSign(key: KeyObject): boolean {
  return key.asymmetricKeyType === 'ec' && key.asymmetricKeyDetails?.namedCurve === 'prime256v1';
}
