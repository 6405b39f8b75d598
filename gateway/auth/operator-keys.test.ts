// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { generateIssuerKey, publicJwks } from '#base/issuer.ts';
import { parseJwks } from './operator-keys.ts';

test('public Ed25519 keys are taken, two at a time while they rotate', async () => {
  const jwks = publicJwks([await generateIssuerKey(), await generateIssuerKey()]);
  expect(parseJwks(JSON.stringify(jwks)).keys).toHaveLength(2);
});

test('a private key in a public document is refused', () => {
  expect(() =>
    parseJwks(JSON.stringify({ keys: [{ kty: 'OKP', crv: 'Ed25519', x: 'x', kid: 'k', d: 'secret' }] })),
  ).toThrow(/not a JWKS/);
});

test.each(['{}', '{"keys": {}}', '{"keys": [{"kty": "RSA", "kid": "k"}]}', 'nonsense'])('%s is refused', (text) => {
  expect(() => parseJwks(text)).toThrow(/JWKS|JSON/);
});
