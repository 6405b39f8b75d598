// SPDX-License-Identifier: Apache-2.0
// What is to be done with the Secret, from what it says, what is being served and the time: pure, so that each case is a row of a test.
import type { X509Certificate } from 'node:crypto';
import { BACKDATE_MS } from './minted.ts';
import type { Minted } from './minted.ts';
import type { CertificateTimes } from './times.ts';
import { MAX_AUTHORITIES, distinct } from './trust.ts';
import type { Leaf, Trust } from './trust.ts';

export interface Situation {
  readonly stored: Trust;
  /** What this process serves at the moment, whatever has become of the Secret. */
  readonly served: Leaf | undefined;
  /** CAs that the webhook configurations trust at the moment. */
  readonly configured: readonly X509Certificate[];
  /** The name that the API server asks for, `<service>.<namespace>.svc`. */
  readonly host: string;
  readonly now: number;
  readonly times: CertificateTimes;
}

export type Plan =
  | { readonly kind: 'keep' }
  /** A new leaf by the CA that there is. */
  | {
      readonly kind: 'leaf';
      readonly reason: string;
      readonly signer: Minted;
      readonly authorities: readonly X509Certificate[];
    }
  /** A new CA and a leaf by it; `authorities`: the older ones that stay trusted. */
  | { readonly kind: 'authority'; readonly reason: string; readonly authorities: readonly X509Certificate[] }
  /** The same certificates, without CAs that have had their time. */
  | {
      readonly kind: 'tidy';
      readonly signer: Minted;
      readonly leaf: Leaf;
      readonly authorities: readonly X509Certificate[];
    };

/** One step of the Secret towards a state in which nothing is left to be done; applied to its own result it keeps. */
export function plan(situation: Situation): Plan {
  const { stored, now, times } = situation;
  const { signer, leaf, damage } = stored;
  const reason = renewalReason(situation);
  const kept = stored.authorities.filter((one) => isValid(one, now) && isWanted(one, situation));
  if (leaf && signer && reason === undefined) {
    const asItIs = damage.length === 0 && kept.length === stored.authorities.length;
    return asItIs ? { kind: 'keep' } : { kind: 'tidy', signer, leaf, authorities: kept };
  }
  const why = reason ?? 'a part of it is missing';
  const others = stillServed(situation, kept);
  if (signer && isValid(signer.certificate, now) && signer.certificate.validToDate.getTime() >= now + times.leafMs) {
    const authorities = distinct([signer.certificate, ...others]).slice(0, MAX_AUTHORITIES);
    return { kind: 'leaf', reason: why, signer, authorities };
  }
  return { kind: 'authority', reason: why, authorities: others.slice(0, MAX_AUTHORITIES - 1) };
}

/** Whether a client that trusts its CA and calls `host` would accept the leaf now. */
export function isUsable(leaf: Leaf, host: string, now: number): boolean {
  return isValid(leaf.certificate, now) && leaf.certificate.checkHost(host) !== undefined;
}

function renewalReason({ stored, served, configured, host, now, times }: Situation): string | undefined {
  const { leaf, signer, damage, empty } = stored;
  // What is served, or trusted, was in it once.
  if (empty) return served || configured.length > 0 ? 'there is none any more' : 'there is none yet';
  if (!leaf || !signer) return damage.length > 0 ? damage.join(', ') : 'a part of it is missing';
  if (!leaf.authority) return 'the certificate is signed by none of the CAs';
  if (leaf.certificate.checkHost(host) === undefined) return `the certificate is not for ${host}`;
  if (!isValid(leaf.authority, now)) return 'its CA has expired';
  const left = leaf.certificate.validToDate.getTime() - now;
  return left < times.lookaheadMs ? `the certificate ends on ${leaf.certificate.validToDate.toISOString()}` : undefined;
}

/** A CA that signs no more stays for as long as a leaf of it may be served that was renewed in time. */
function isWanted(authority: X509Certificate, { stored, now, times }: Situation): boolean {
  const { signer, leaf } = stored;
  const inUse = [signer?.certificate, leaf?.authority].some((one) => one?.fingerprint256 === authority.fingerprint256);
  if (inUse || !signer) return true;
  return now < signer.certificate.validFromDate.getTime() + BACKDATE_MS + times.lookaheadMs;
}

/**
 * The CAs to be trusted beside a new one. Where the Secret has lost them, this replica serves a leaf of one, and another replica may
 * serve one that only the configurations still trust: no request of either may be lost.
 */
function stillServed(
  { stored, served, configured, now }: Situation,
  kept: readonly X509Certificate[],
): X509Certificate[] {
  const own = served?.authority ? [served.authority] : [];
  const theirs = stored.authorities.length === 0 ? configured : [];
  return distinct([...own, ...kept, ...theirs]).filter((one) => isValid(one, now));
}

function isValid(certificate: X509Certificate, now: number): boolean {
  // Not before is not looked at: it lies an hour back, and a clock that was set back must not make everything anew.
  return now < certificate.validToDate.getTime();
}
