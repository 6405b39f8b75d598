// SPDX-License-Identifier: Apache-2.0
import { SignJWT, calculateJwkThumbprint, exportJWK, generateKeyPair, importJWK } from 'jose';
import type { CryptoKey, JWK, JWTPayload } from 'jose';
import type { Clock } from './clock.ts';

/** An Ed25519 key pair as JWK; `kid` is its RFC 7638 thumbprint. Secret: kept in a Secret or in --data, never logged. */
export type PrivateJwk = JWK & { readonly kid: string };

export interface Jwks {
  readonly keys: readonly JWK[];
}

export async function generateIssuerKey(): Promise<PrivateJwk> {
  const { privateKey } = await generateKeyPair('EdDSA', { crv: 'Ed25519', extractable: true });
  const jwk = await exportJWK(privateKey);
  return { ...jwk, alg: 'EdDSA', use: 'sig', kid: await calculateJwkThumbprint(jwk) };
}

/** The public halves, to be published. */
export function publicJwks(keys: readonly PrivateJwk[]): Jwks {
  return { keys: keys.map(({ kty, crv, x, kid }) => ({ kty, crv, x, kid, alg: 'EdDSA', use: 'sig' }) as JWK) };
}

/** Mints JWTs with one key. */
export interface Signer {
  /** Adds iat, exp (both seconds) and the key's kid. */
  sign(claims: JWTPayload, lifeSeconds: number): Promise<string>;
}

export async function createSigner(key: PrivateJwk, clock: Clock): Promise<Signer> {
  const signingKey = (await importJWK(key, 'EdDSA')) as CryptoKey;
  return {
    sign: (claims, lifeSeconds) => {
      const iat = Math.floor(clock.now() / 1000);
      return new SignJWT(claims)
        .setProtectedHeader({ alg: 'EdDSA', kid: key.kid })
        .setIssuedAt(iat)
        .setExpirationTime(iat + lifeSeconds)
        .sign(signingKey);
    },
  };
}
