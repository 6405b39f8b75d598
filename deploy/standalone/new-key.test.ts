// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { systemRandom } from '#base/random.ts';
import { readTenants } from '#base/tenants.ts';
import { createTenants } from '#gateway/auth/tenants.ts';
import { newKey } from './new-key.ts';

const clock = createFakeClock(Date.UTC(2026, 0, 1));
const make = (...argv: string[]) => newKey(argv, clock, systemRandom);

test('the entry lets the key in, and holds nothing of its secret', () => {
  const { key, entry } = make('--tenant', 'acme', '--role', 'operator', '--expires', '90d', '--name', 'etl: "nightly"');
  const document = readTenants(entry) ?? { tenants: [] };
  const tenant = createTenants(document, clock).byApiKey(key.trimEnd());
  expect(tenant).toMatchObject({ name: 'acme', role: 'operator' });
  expect(document.tenants[0]?.apiKeys?.[0]).toMatchObject({
    expiresAt: '2026-04-01T00:00:00Z',
    name: 'etl: "nightly"',
  });
  expect(entry).not.toContain(key.trimEnd().slice(-43));
  expect(key).toMatch(/^psk_\S{52}\n$/);
});

test('nothing said: a key for clients that never expires', () => {
  const { key, entry } = make('--tenant', 'acme');
  expect(readTenants(entry)?.tenants).toEqual([
    { name: 'acme', apiKeys: [{ prefix: key.slice(0, 12), sha256: expect.any(String) as string, role: 'client' }] },
  ]);
});

test.each<[what: string, argv: string[], message: RegExp]>([
  ['no tenant', [], /^--tenant is required/],
  ['a tenant that is no name', ['--tenant', 'A b'], /^--tenant: write at most 63/],
  ['an unknown role', ['--tenant', 'a', '--role', 'root'], /^--role: write client, operator or admin/],
  ['a time that is none', ['--tenant', 'a', '--expires', 'soon'], /^--expires: write an RFC 3339 time/],
  [
    'a time that is over',
    ['--tenant', 'a', '--expires', '2025-01-01T00:00:00Z'],
    /^--expires: write a time that is still to come/,
  ],
  ['a name without end', ['--tenant', 'a', '--name', 'n'.repeat(129)], /^--name: write 1 to 128/],
  ['an unknown option', ['--tenant', 'a', '--scope', 'x'], /--scope/],
  ['a word too many', ['--tenant', 'a', 'b'], /b/],
])('%s is refused by its option', (_what, argv, message) => {
  expect(() => make(...argv)).toThrow(
    expect.objectContaining({ name: 'UsageError', message: expect.stringMatching(message) as string }),
  );
});
