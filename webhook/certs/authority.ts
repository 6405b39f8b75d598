// SPDX-License-Identifier: Apache-2.0
// Makes certificates. Only loaded when one is to be made (once a year, by one replica): the library costs 40 MB and half a second.
import './reflect.ts';
import { KeyObject, X509Certificate, createPrivateKey, randomBytes, webcrypto } from 'node:crypto';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate as Asn1Certificate,
  X509CertificateGenerator,
} from '@peculiar/x509';
import { BACKDATE_MS } from './minted.ts';
import type { Minted } from './minted.ts';

/** P-256: every client of the API server's age can verify it, and one handshake costs a tenth of RSA's. */
const ALGORITHM = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** A self-signed CA, valid from `now` for `lifeMs`. */
export async function mintAuthority(now: number, lifeMs: number): Promise<Minted> {
  const keys = await generateKeys();
  const made = await X509CertificateGenerator.createSelfSigned({
    ...validity(now, lifeMs),
    // A name of its own: while two CAs are trusted, a verifier finds the right one at once.
    name: [{ CN: [`Penstock webhook CA ${randomBytes(4).toString('hex')}`] }],
    keys,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return minted(made.toString('pem'), keys);
}

/** A server certificate for `names` (the first is its common name), signed by `signer`, which it never outlives. */
export async function mintLeaf(signer: Minted, names: readonly string[], now: number, lifeMs: number): Promise<Minted> {
  const keys = await generateKeys();
  // The issuer's name has to be the CA's to the byte, so it is taken over as parsed and not written anew.
  const authority = new Asn1Certificate(signer.certificate.raw);
  const made = await X509CertificateGenerator.create({
    ...validity(now, Math.min(lifeMs, signer.certificate.validToDate.getTime() - now)),
    subject: [{ CN: [names[0] ?? ''] }],
    issuer: authority.subjectName,
    signingKey: createPrivateKey(signer.key).toCryptoKey(ALGORITHM, false, ['sign']),
    publicKey: keys.publicKey,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns', value }) as const)),
      await AuthorityKeyIdentifierExtension.create(authority.publicKey),
    ],
  });
  return minted(made.toString('pem'), keys);
}

function validity(now: number, lifeMs: number): object {
  const dates = { notBefore: new Date(now - BACKDATE_MS), notAfter: new Date(now + lifeMs) };
  return { ...dates, signingAlgorithm: ALGORITHM };
}

function generateKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ['sign', 'verify']);
}

function minted(pem: string, keys: webcrypto.CryptoKeyPair): Minted {
  const key = KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' });
  return { certificate: new X509Certificate(pem), key };
}
