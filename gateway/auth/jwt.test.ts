// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { createSigner, generateIssuerKey, publicJwks } from '#base/issuer.ts';
import type { Jwks } from '#base/issuer.ts';
import { createJwtVerifier } from './jwt.ts';

const key = await generateIssuerKey();
const other = await generateIssuerKey();
const CLAIMS = { iss: 'issuer', aud: 'audience', sub: 'unit-1' };

async function verify(claims: object, options: { life?: number; signedBy?: typeof key; jwks?: Jwks } = {}) {
  const signer = await createSigner(options.signedBy ?? key, systemClock);
  const token = await signer.sign({ ...claims }, options.life ?? 60);
  const jwks = options.jwks ?? publicJwks([key]);
  return await createJwtVerifier({ jwks: () => jwks, issuer: 'issuer', audience: 'audience', clock: systemClock })(
    token,
  );
}

describe('a token of an issuer', () => {
  test('is good when signature, issuer, audience, life and subject are', async () => {
    await expect(verify(CLAIMS)).resolves.toMatchObject(CLAIMS);
  });

  test('is good under either key while they rotate', async () => {
    await expect(verify(CLAIMS, { signedBy: other, jwks: publicJwks([key, other]) })).resolves.toMatchObject(CLAIMS);
  });

  test.each([
    ['an unknown key', CLAIMS, { signedBy: other }],
    ['another audience', { ...CLAIMS, aud: 'else' }, {}],
    ['another issuer', { ...CLAIMS, iss: 'else' }, {}],
    ['no subject', { iss: 'issuer', aud: 'audience' }, {}],
    ['a life that is over, tolerance included', CLAIMS, { life: -60 }],
  ])('is refused with 401: %s', async (_name, claims, options) => {
    await expect(verify(claims, options)).rejects.toMatchObject({ status: 401, code: 'unauthenticated' });
  });

  test('waits with 503 while no key is known, since a 401 would send every unit away', async () => {
    await expect(verify(CLAIMS, { jwks: { keys: [] } })).rejects.toMatchObject({ status: 503, code: 'not-ready' });
  });
});
