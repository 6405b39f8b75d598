// SPDX-License-Identifier: Apache-2.0
import { createLocalJWKSet, jwtVerify } from 'jose';
import { expect, test } from 'vitest';
import { systemClock } from './clock.ts';
import { createSigner, generateIssuerKey, publicJwks } from './issuer.ts';

test('a token verifies against the published keys by kid, and only with its own key', async () => {
  const [mine, other] = [await generateIssuerKey(), await generateIssuerKey()];
  const signer = await createSigner(mine, systemClock);
  const token = await signer.sign({ iss: 'penstock-operator', aud: 'penstock-unit', sub: 'ocr-1' }, 60);
  const both = createLocalJWKSet({ keys: [...publicJwks([other, mine]).keys] });
  const { payload, protectedHeader } = await jwtVerify(token, both, { audience: 'penstock-unit' });
  expect(payload).toMatchObject({ sub: 'ocr-1', exp: (payload.iat ?? 0) + 60 });
  expect(protectedHeader).toMatchObject({ alg: 'EdDSA', kid: mine.kid });
  await expect(jwtVerify(token, createLocalJWKSet({ keys: [...publicJwks([other]).keys] }))).rejects.toThrow(
    'no applicable key',
  );
});

test('the published half holds no private part', async () => {
  expect(publicJwks([await generateIssuerKey()]).keys[0]).not.toHaveProperty('d');
});
