// SPDX-License-Identifier: Apache-2.0
import { jwtVerify, importJWK } from 'jose';
import { expect, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { createSigner, publicJwks } from '#base/issuer.ts';
import { deriveKey, deriveKeys } from './keys.ts';

const master = new Uint8Array(32).fill(1);

test('one secret gives the same keys on every replica, and other keys for every purpose', async () => {
  const [first, second] = [await deriveKeys(master), await deriveKeys(master)];
  expect(first).toEqual(second);
  expect(deriveKey(master, 'ticket')).not.toEqual(deriveKey(master, 'objects'));
  expect((await deriveKeys(new Uint8Array(32).fill(2))).ticketKey).not.toEqual(first.ticketKey);
});

test('the session key signs what its public half verifies', async () => {
  const [key] = (await deriveKeys(master)).sessionKeys;
  const signer = await createSigner(key!, systemClock);
  const token = await signer.sign({ sub: 'unit' }, 60);
  const [jwk] = publicJwks([key!]).keys;
  const { payload, protectedHeader } = await jwtVerify(token, await importJWK(jwk!, 'EdDSA'));
  expect([payload.sub, protectedHeader.kid]).toEqual(['unit', jwk?.kid]);
  expect(jwk).not.toHaveProperty('d');
});

test('a short secret is refused', () => {
  expect(() => deriveKey(new Uint8Array(31), 'ticket')).toThrow(/at least 32 bytes/);
});
