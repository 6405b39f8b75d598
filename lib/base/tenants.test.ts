// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { newApiKey, prefixOf } from './api-key.ts';
import { seededRandom, systemRandom } from './random.ts';
import { TenantsError, parseTenantsDocument, readTenants } from './tenants.ts';

const sha256 = hash('sha256', 'secret');

const FULL = `
tenants:
  - name: acme
    namespace: team-a
    weight: 7
    priorityCeiling: 100
    maxInFlight: 20
    maxQueued: 5000
    requestRate: { perSecond: 50.5, burst: 100 }
    ceilings: { maxUnits: 20, gpusPerUnit: 2, gpus: 24 }
    apps: ['*', shared.embed, other.*]
    appLimits:
      ocr: { maxInFlight: 4 }
      shared.embed: { maxQueued: 10 }
    apiKeys:
      - sha256: ${sha256}
        prefix: psk_abcd2345
        role: admin
        expiresAt: 2027-01-31T00:00:00Z
        name: nightly import
    serviceAccounts:
      - { namespace: team-b, name: etl.nightly, role: operator }
default: { weight: 1, priorityCeiling: 0, ceilings: { maxUnits: 1 }, maxInFlight: 2, maxQueued: 100, requestRate: { perSecond: 5, burst: 10 } }
`;

test('a document with every field is read as it stands', () => {
  expect(readTenants(FULL)).toMatchObject({
    tenants: [{ name: 'acme', weight: 7, apps: ['*', 'shared.embed', 'other.*'], apiKeys: [{ role: 'admin' }] }],
    default: { maxQueued: 100, ceilings: { maxUnits: 1 } },
  });
});

test.each(['', '# nothing yet\n', '---\n'])('text without a document (%j) is none', (text) => {
  expect(readTenants(text)).toBeUndefined();
});

const key = { sha256 };
const account = { namespace: 'a', name: 'b' };

describe('what does not fit is refused by its field and with the fix', () => {
  test.each<[what: string, document: unknown, field: string, message: RegExp]>([
    ['a list in place of the document', [], 'document', /must be object; write a mapping with tenants, default/],
    ['no tenants', {}, 'document', /lacks tenants/],
    [
      'an unknown field',
      { tenants: [{ name: 'a', wieght: 3 }] },
      'tenants[0]',
      /unknown field wieght; known are name, /,
    ],
    ['an unknown field beside tenants', { tenants: [], defaults: {} }, 'document', /unknown field defaults/],
    [
      'an unknown field of a key',
      { tenants: [{ name: 'a', apiKeys: [{ ...key, key: 'x' }] }] },
      'tenants[0].apiKeys[0]',
      /key/,
    ],
    ['no name', { tenants: [{}] }, 'tenants[0]', /lacks name/],
    ['a misspelt name', { tenants: [{ nam: 'a' }] }, 'tenants[0]', /unknown field nam; known are name, /],
    ['misspelt tenants', { tenant: [] }, 'document', /unknown field tenant; known are tenants, default/],
    ['a name that is no label', { tenants: [{ name: 'A b' }] }, 'tenants[0].name', /lower-case/],
    ['a weight of 0', { tenants: [{ name: 'a', weight: 0 }] }, 'tenants[0].weight', /an integer from 1 to 1000$/],
    ['half a weight', { tenants: [{ name: 'a', weight: 1.5 }] }, 'tenants[0].weight', /must be integer/],
    ['a weight of 1001', { tenants: [{ name: 'a', weight: 1001 }] }, 'tenants[0].weight', /<= 1000/],
    ['a ceiling below 0', { tenants: [{ name: 'a', priorityCeiling: -1 }] }, 'tenants[0].priorityCeiling', /from 0/],
    ['no one in flight', { tenants: [{ name: 'a', maxInFlight: 0 }] }, 'tenants[0].maxInFlight', />= 1/],
    [
      'a rate of nothing',
      { tenants: [], default: { requestRate: { perSecond: 0, burst: 1 } } },
      'default.requestRate.perSecond',
      /above 0/,
    ],
    [
      'a rate without burst',
      { tenants: [], default: { requestRate: { perSecond: 1 } } },
      'default.requestRate',
      /lacks burst/,
    ],
    [
      'an app with two dots',
      { tenants: [{ name: 'a', apps: ['b', 'c.d.e'] }] },
      'tenants[0].apps[1]',
      /namespace\.name/,
    ],
    [
      'every app of every namespace',
      { tenants: [{ name: 'a', apps: ['*.*'] }] },
      'tenants[0].apps[0]',
      /namespace\.\*/,
    ],
    [
      'limits of a wildcard',
      { tenants: [{ name: 'a', appLimits: { '*': {} } }] },
      'tenants[0].appLimits',
      /pattern|name/,
    ],
    [
      'an unknown limit',
      { tenants: [{ name: 'a', appLimits: { b: { weight: 1 } } }] },
      'tenants[0].appLimits.b',
      /unknown field weight/,
    ],
    [
      'a key in clear text',
      { tenants: [{ name: 'a', apiKeys: [{ sha256: 'secret' }] }] },
      'tenants[0].apiKeys[0].sha256',
      /64 hex/,
    ],
    [
      'a whole key as the prefix',
      { tenants: [{ name: 'a', apiKeys: [{ ...key, prefix: newApiKey(systemRandom).key }] }] },
      'tenants[0].apiKeys[0].prefix',
      /first 12/,
    ],
    [
      'an unknown role',
      { tenants: [{ name: 'a', apiKeys: [{ ...key, role: 'root' }] }] },
      'tenants[0].apiKeys[0].role',
      /client, operator or admin/,
    ],
    [
      'a date without a time',
      { tenants: [{ name: 'a', apiKeys: [{ ...key, expiresAt: '2027-01-01' }] }] },
      'tenants[0].apiKeys[0].expiresAt',
      /RFC 3339/,
    ],
    [
      'a time that is none',
      { tenants: [{ name: 'a', apiKeys: [{ ...key, expiresAt: '2027-13-01T00:00:00Z' }] }] },
      'tenants[0].apiKeys[0].expiresAt',
      /calendar/,
    ],
    [
      'a tenant twice',
      { tenants: [{ name: 'a' }, { name: 'a' }] },
      'tenants[1].name',
      /twice, first in tenants\[0\]\.name/,
    ],
    [
      'a key twice',
      {
        tenants: [
          { name: 'a', apiKeys: [key] },
          { name: 'b', apiKeys: [key] },
        ],
      },
      'tenants[1].apiKeys[0].sha256',
      /twice/,
    ],
    [
      'a prefix twice',
      {
        tenants: [
          {
            name: 'a',
            apiKeys: [
              { ...key, prefix: 'psk_abcd2345' },
              { sha256: hash('sha256', 'b'), prefix: 'psk_abcd2345' },
            ],
          },
        ],
      },
      'tenants[0].apiKeys[1].prefix',
      /make another key/,
    ],
    [
      'an account twice',
      {
        tenants: [
          { name: 'a', serviceAccounts: [account] },
          { name: 'b', serviceAccounts: [account] },
        ],
      },
      'tenants[1].serviceAccounts[0]',
      /one tenant only/,
    ],
    [
      'an account that is no name',
      { tenants: [{ name: 'a', serviceAccounts: [{ ...account, name: 'a:b' }] }] },
      'tenants[0].serviceAccounts[0].name',
      /ServiceAccount/,
    ],
  ])('%s', (_what, document, field, message) => {
    const parse = (): unknown => parseTenantsDocument(document);
    expect(parse).toThrow(TenantsError);
    expect(parse).toThrow(expect.objectContaining({ field, message: expect.stringMatching(message) as string }));
  });

  test.each(['tenants: [', 'tenants: [{name: a, name: b}]', 'a: *b'])('%j, which is no YAML', (text) => {
    expect(() => readTenants(text)).toThrow(TenantsError);
  });

  test('the line of what is no YAML is named, and not what stands there', () => {
    const error = expect.objectContaining({
      message: 'tenants: document: is no YAML; mend line 3: a mapping with tenants, a list',
    });
    expect(() => readTenants('tenants:\n  - name: a\n   psk: secret\n')).toThrow(error);
  });
});

test('a value that is wrong is not repeated: it may be a credential in the wrong place', () => {
  const secret = newApiKey(systemRandom).key;
  for (const field of ['name', 'namespace', 'sha256', 'prefix', 'role', 'expiresAt']) {
    const where = field.startsWith('name') ? { [field]: secret } : { apiKeys: [{ ...key, [field]: secret }] };
    expect(() => parseTenantsDocument({ tenants: [{ name: 'a', ...where }] })).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining(secret) as string }),
    );
  }
});

test('a new key has its prefix in front, 256 bits behind it, and only its digest need be kept', () => {
  const made = newApiKey(systemRandom);
  expect(made.key).toMatch(/^psk_[0-9a-hjkmnp-tv-z]{8}_[A-Za-z0-9_-]{43}$/);
  expect([prefixOf(made.key), hash('sha256', made.key)]).toEqual([made.prefix, made.sha256]);
  expect(
    parseTenantsDocument({ tenants: [{ name: 'a', apiKeys: [{ prefix: made.prefix, sha256: made.sha256 }] }] }),
  ).toBeDefined();
  expect(newApiKey(seededRandom(1)).key).not.toBe(newApiKey(seededRandom(2)).key);
});

test.each(['secret', 'psk_abcd2345', 'psk_ABCD2345_' + 'a'.repeat(43), 'psk_abcd2345_' + 'a'.repeat(42)])(
  '%s is no key of our form',
  (text) => {
    expect(prefixOf(text)).toBeUndefined();
  },
);
