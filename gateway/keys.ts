// SPDX-License-Identifier: Apache-2.0
import { createPrivateKey, createPublicKey, hkdfSync } from 'node:crypto';
import { calculateJwkThumbprint } from 'jose';
import type { PrivateJwk } from '#base/issuer.ts';

/** Shortest master secret: 256 bits, as strong as what is derived from it. */
export const MASTER_MIN_BYTES = 32;

/** The gateway's own keys. All replicas of a gateway share them; they outlive every ticket. */
export interface GatewayKeys {
  /** HMAC key of tickets. */
  readonly ticketKey: Uint8Array;
  /** Session tokens: the first one signs, all verify (rotation). */
  readonly sessionKeys: readonly PrivateJwk[];
}

/** DER head of a PKCS #8 Ed25519 private key (RFC 8410 §7); the 32 bytes of the seed follow. */
const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex');

/**
 * Every key of a gateway from one secret, so that a deployment has one value to make, mount and rotate.
 * @throws RangeError when the secret is shorter than 256 bits
 */
export async function deriveKeys(master: Uint8Array): Promise<GatewayKeys> {
  return {
    ticketKey: deriveKey(master, 'ticket'),
    sessionKeys: [await ed25519FromSeed(deriveKey(master, 'session'))],
  };
}

/** 32 bytes for one purpose; knowing one of them tells nothing about the others (RFC 5869). */
export function deriveKey(master: Uint8Array, purpose: string): Uint8Array {
  if (master.length < MASTER_MIN_BYTES) {
    throw new RangeError(`the gateway's secret must have at least ${MASTER_MIN_BYTES} bytes, it has ${master.length}`);
  }
  return new Uint8Array(hkdfSync('sha256', master, 'penstock-gateway', purpose, 32));
}

async function ed25519FromSeed(seed: Uint8Array): Promise<PrivateJwk> {
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, seed]), format: 'der', type: 'pkcs8' });
  const kid = await calculateJwkThumbprint(createPublicKey(key).export({ format: 'jwk' }));
  return { ...key.export({ format: 'jwk' }), alg: 'EdDSA', use: 'sig', kid };
}
