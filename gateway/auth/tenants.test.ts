// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import { expect, test } from 'vitest';
import { openTenants, parseTenants } from './tenants.ts';

const sha256 = hash('sha256', 'secret');

test('a key stands for its tenant, whose namespace is its name unless another is said', () => {
  const tenants = parseTenants({
    tenants: [
      { name: 'one', apiKeys: [{ sha256, description: 'of the team' }] },
      { name: 'two', namespace: 'elsewhere', apiKeys: [{ sha256: hash('sha256', 'other') }] },
    ],
  });
  expect(tenants.byApiKey('secret')).toEqual({ name: 'one', namespace: 'one' });
  expect(tenants.byApiKey('other')).toEqual({ name: 'two', namespace: 'elsewhere' });
  expect(tenants.byApiKey(sha256)).toBeUndefined();
  expect([tenants.keyCount(), tenants.anonymous()]).toEqual([2, undefined]);
});

test('without any key everyone is the default tenant', () => {
  expect(openTenants().anonymous()).toEqual({ name: 'default', namespace: 'default' });
  expect(parseTenants({ tenants: [{ name: 'one' }] }).anonymous()).toBeDefined();
});

test.each([
  ['a document that is a list', [], /document: must be object/],
  ['no tenants', {}, /required property 'tenants'/],
  ['an unknown field', { tenants: [{ name: 'a', weight: 3 }] }, /tenants\[0\]: unknown field weight/],
  ['a name that is no label', { tenants: [{ name: 'A b' }] }, /tenants\[0\]\.name/],
  ['a key in clear text', { tenants: [{ name: 'a', apiKeys: [{ sha256: 'secret' }] }] }, /apiKeys\[0\]\.sha256/],
  ['a tenant twice', { tenants: [{ name: 'a' }, { name: 'a' }] }, /tenants\[1\]\.name: a is there twice/],
  [
    'a key twice',
    {
      tenants: [
        { name: 'a', apiKeys: [{ sha256 }] },
        { name: 'b', apiKeys: [{ sha256 }] },
      ],
    },
    /tenants\[1\]\.apiKeys\[0\]\.sha256: is there twice/,
  ],
])('%s is refused by its field', (_name, document, message) => {
  expect(() => parseTenants(document)).toThrow(message);
});
