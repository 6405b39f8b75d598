// SPDX-License-Identifier: Apache-2.0
import { X509Certificate, createPrivateKey } from 'node:crypto';
import type { KeyObject } from 'node:crypto';
import { canSign } from './minted.ts';
import type { Minted } from './minted.ts';

/** CAs that are trusted at the same time, at most: whoever deletes the Secret in a loop must not make the caBundle grow. */
export const MAX_AUTHORITIES = 8;
/** Longest PEM text that is looked at; a Secret holds 1 MiB, and each certificate costs a parse. */
const MAX_PEM = 256 * 1024;
const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g;

/** Keys of the Secret; the first three are also what cert-manager writes. */
const KEYS = { leaf: 'tls.crt', leafKey: 'tls.key', authorities: 'ca.crt', authorityKey: 'ca.key' } as const;

export interface Leaf {
  readonly certificate: X509Certificate;
  /** PEM: the leaf first, then what came with it. */
  readonly chain: string;
  /** PKCS #8 (or older) PEM. Secret. */
  readonly key: string;
  /** The trusted CA that signed it; undefined when none of them did so directly. */
  readonly authority: X509Certificate | undefined;
}

/** What the Secret says, as far as it can be understood. */
export interface Trust {
  /** The CAs that are to be trusted, the one that signs first where it was written by us. */
  readonly authorities: readonly X509Certificate[];
  readonly signer: Minted | undefined;
  readonly leaf: Leaf | undefined;
  /** What is there and cannot be used, each a clause for people; no part of a key. */
  readonly damage: readonly string[];
  /** Nothing is there at all. */
  readonly empty: boolean;
}

/** @param data of a Secret (base64); undefined: there is none. Never throws. */
export function readTrust(data: Readonly<Record<string, string>> | undefined): Trust {
  const texts = Object.entries(KEYS).map(([part, key]) => [part, decode(data?.[key])] as const);
  const { leaf = '', leafKey = '', authorities = '', authorityKey = '' } = Object.fromEntries(texts);
  const damage: string[] = [];
  const cas = readAuthorities(authorities, damage);
  return {
    authorities: cas,
    signer: authorityKey === '' ? undefined : readSigner(authorityKey, cas, damage),
    leaf: leaf === '' && leafKey === '' ? undefined : readLeaf(leaf, leafKey, cas, damage),
    damage,
    empty: texts.every(([, text]) => text === ''),
  };
}

/** The inverse of {@link readTrust}. */
export function writeTrust(trust: {
  readonly authorities: readonly X509Certificate[];
  readonly signer: Minted;
  readonly leaf: { readonly chain: string; readonly key: string };
}): Record<string, string> {
  const encode = (text: string): string => Buffer.from(text).toString('base64');
  return {
    [KEYS.leaf]: encode(trust.leaf.chain),
    [KEYS.leafKey]: encode(trust.leaf.key),
    [KEYS.authorities]: encode(bundleOf(trust.authorities)),
    [KEYS.authorityKey]: encode(trust.signer.key),
  };
}

/** PEM of all of them, as it goes into a caBundle. */
export function bundleOf(authorities: readonly X509Certificate[]): string {
  return authorities.map((authority) => authority.toString()).join('');
}

/** Certificates of a PEM text and how many blocks were none. */
export function certificatesOf(pem: string): { readonly certificates: X509Certificate[]; readonly broken: number } {
  const blocks = pem.slice(0, MAX_PEM).match(PEM_CERTIFICATE) ?? [];
  const certificates = blocks.flatMap((block) => attempt(() => new X509Certificate(block)) ?? []);
  return { certificates, broken: blocks.length - certificates.length };
}

/** One of each, in the order of their first appearance. */
export function distinct(certificates: readonly X509Certificate[]): X509Certificate[] {
  return [...new Map(certificates.toReversed().map((one) => [one.fingerprint256, one])).values()].toReversed();
}

function readAuthorities(pem: string, damage: string[]): X509Certificate[] {
  const { certificates, broken } = certificatesOf(pem);
  const authorities = distinct(certificates.filter(({ ca }) => ca));
  if (pem !== '' && authorities.length === 0) damage.push(`${KEYS.authorities} holds no CA`);
  else if (broken > 0 || authorities.length < certificates.length)
    damage.push(`${KEYS.authorities} holds more than CAs`);
  return authorities.slice(0, MAX_AUTHORITIES);
}

function readSigner(pem: string, authorities: readonly X509Certificate[], damage: string[]): Minted | undefined {
  const key = readKey(pem);
  const certificate = key && authorities.find((authority) => authority.checkPrivateKey(key));
  if (certificate && canSign(key)) return { certificate, key: pem };
  damage.push(
    key
      ? `${KEYS.authorityKey} is not the P-256 key of a CA in ${KEYS.authorities}`
      : `${KEYS.authorityKey} is no private key`,
  );
  return undefined;
}

function readLeaf(
  chain: string,
  pem: string,
  authorities: readonly X509Certificate[],
  damage: string[],
): Leaf | undefined {
  const [certificate] = certificatesOf(chain).certificates;
  const key = readKey(pem);
  if (certificate && key && certificate.checkPrivateKey(key)) {
    const authority = authorities.find((one) => certificate.checkIssued(one) && certificate.verify(one.publicKey));
    return { certificate, chain, key: pem, authority };
  }
  if (!certificate) damage.push(`${KEYS.leaf} is no certificate`);
  else damage.push(key ? `${KEYS.leafKey} does not belong to ${KEYS.leaf}` : `${KEYS.leafKey} is no private key`);
  return undefined;
}

function readKey(pem: string): KeyObject | undefined {
  return attempt(() => createPrivateKey(pem));
}

/** For parsers of other people's bytes, which say by throwing that it is not what they parse. */
function attempt<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

function decode(base64: string | undefined): string {
  return typeof base64 === 'string' ? Buffer.from(base64, 'base64').toString() : '';
}
