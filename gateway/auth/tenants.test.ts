// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { newApiKey } from '#base/api-key.ts';
import { createFakeClock } from '#base/fake-clock.ts';
import { systemRandom } from '#base/random.ts';
import type { Role, TenantEntry, TenantsDocument } from '#base/tenants.ts';
import { requireRole } from './roles.ts';
import { openTenants, parseTenants } from './tenants.ts';
import type { Tenant } from './tenants.ts';

const made = newApiKey(systemRandom);
const other = newApiKey(systemRandom);
const entryOf = ({ sha256, prefix }: typeof made) => ({ sha256, prefix });

function tenantOf(document: TenantsDocument, key = made.key): Tenant {
  const found = parseTenants(document).byApiKey(key);
  if (found === undefined || found === 'expired') throw new Error(`the key is ${found ?? 'unknown'}`);
  return found;
}

function one(entry: Omit<TenantEntry, 'name'>): Tenant {
  return tenantOf({ tenants: [{ name: 'one', ...entry, apiKeys: [entryOf(made)] }] });
}

describe('API keys', () => {
  test('a key stands for its tenant, whose namespace is its name unless another is said', () => {
    const tenants = parseTenants({
      tenants: [
        { name: 'one', apiKeys: [{ ...entryOf(made), role: 'operator', name: 'of the team' }] },
        { name: 'two', namespace: 'elsewhere', apiKeys: [{ sha256: hash('sha256', 'of their own making') }] },
      ],
    });
    expect(tenants.byApiKey(made.key)).toMatchObject({
      name: 'one',
      namespace: 'one',
      role: 'operator',
      subject: `key ${made.prefix}`,
    });
    expect(tenants.byApiKey('of their own making')).toMatchObject({
      name: 'two',
      namespace: 'elsewhere',
      role: 'client',
    });
    expect([tenants.keyCount(), tenants.anonymous()]).toEqual([2, undefined]);
  });

  test.each([
    ['its digest', made.sha256],
    ['its prefix', made.prefix],
    ['its prefix with another secret', `${made.prefix}_${'a'.repeat(43)}`],
    ['its secret with another prefix', made.key.replace(made.prefix, other.prefix)],
    ['nothing', ''],
    ['another key', other.key],
  ])('%s is not the key', (_what, text) => {
    const tenants = parseTenants({ tenants: [{ name: 'one', apiKeys: [entryOf(made)] }] });
    expect(tenants.byApiKey(text)).toBeUndefined();
  });

  test('two are good at once while they rotate, until the old one expires', async () => {
    const clock = createFakeClock(Date.UTC(2026, 5, 1));
    const expiresAt = '2026-06-01T00:01:00Z';
    const tenants = parseTenants(
      { tenants: [{ name: 'one', apiKeys: [{ ...entryOf(made), expiresAt }, entryOf(other)] }] },
      clock,
    );
    await clock.advance(59_999);
    expect([tenants.byApiKey(made.key), tenants.byApiKey(other.key)]).toMatchObject([{ name: 'one' }, { name: 'one' }]);
    await clock.advance(1);
    expect([tenants.byApiKey(made.key), tenants.byApiKey(other.key)]).toMatchObject(['expired', { name: 'one' }]);
    // A key that ran out does not open the gateway.
    expect(tenants.anonymous()).toBeUndefined();
  });
});

describe('what a tenant may do', () => {
  const ocr = { namespace: 'one', name: 'ocr' };
  const shared = { namespace: 'shared', name: 'ocr' };

  test('nothing said: weight 1, priority 0, every app of its namespace, no bounds', () => {
    const tenant = one({});
    expect(tenant).toMatchObject({ weight: 1, priorityCeiling: 0, role: 'client', listed: true });
    expect(tenant.requestRate).toBeUndefined();
    expect([tenant.shareFor(ocr), tenant.mayCall(ocr), tenant.mayCall(shared)]).toEqual([{ weight: 1 }, true, false]);
  });

  test('bounds of one app replace the tenant’s, one by one', () => {
    const tenant = one({
      weight: 7,
      maxInFlight: 5,
      maxQueued: 50,
      appLimits: { ocr: { maxInFlight: 1 }, 'shared.ocr': { maxQueued: 2 } },
    });
    expect(tenant.shareFor(ocr)).toEqual({ weight: 7, maxInFlight: 1, maxQueued: 50 });
    expect(tenant.shareFor(shared)).toEqual({ weight: 7, maxInFlight: 5, maxQueued: 2 });
    expect(tenant.shareFor({ namespace: 'one', name: 'else' })).toEqual({ weight: 7, maxInFlight: 5, maxQueued: 50 });
  });

  test.each<[apps: string[], may: string[]]>([
    [[], []],
    [['ocr'], ['one.ocr']],
    [['*'], ['one.ocr', 'one.else']],
    [['shared.ocr'], ['shared.ocr']],
    [
      ['*', 'shared.ocr'],
      ['one.ocr', 'one.else', 'shared.ocr'],
    ],
    [['shared.*'], ['shared.ocr', 'shared.else']],
  ])('apps %j let it call %j and no others', (apps, may) => {
    const tenant = one({ apps });
    const all = ['one.ocr', 'one.else', 'shared.ocr', 'shared.else', 'strange.ocr'];
    const called = all.filter((full) => {
      const [namespace = '', name = ''] = full.split('.');
      return tenant.mayCall({ namespace, name });
    });
    expect(called).toEqual(may);
  });

  test.each<[role: Role, needed: Role]>([
    ['client', 'client'],
    ['operator', 'client'],
    ['operator', 'operator'],
    ['admin', 'client'],
    ['admin', 'operator'],
    ['admin', 'admin'],
  ])('role %s may do what takes %s', (role, needed) => {
    expect(() => requireRole({ role }, needed)).not.toThrow();
  });

  test.each<[role: Role, needed: Role]>([
    ['client', 'operator'],
    ['client', 'admin'],
    ['operator', 'admin'],
  ])('role %s may not do what takes %s', (role, needed) => {
    const forbidden = expect.objectContaining({ status: 403, code: 'forbidden' });
    expect(() => requireRole({ role }, needed)).toThrow(forbidden);
  });
});

describe('without a credential', () => {
  test('everyone is the default tenant in every role, where there is no document', () => {
    expect(openTenants().anonymous()).toMatchObject({ name: 'default', namespace: 'default', role: 'admin' });
  });

  test.each<[what: string, document: TenantsDocument]>([
    ['no tenants', { tenants: [] }],
    ['a tenant without keys', { tenants: [{ name: 'one' }] }],
    ['a tenant called default', { tenants: [{ name: 'default' }], default: { weight: 2 } }],
  ])('nobody is let in by a document with %s', (_what, document) => {
    expect(parseTenants(document).anonymous()).toBeUndefined();
  });
});

describe('ServiceAccounts', () => {
  const account = { namespace: 'team', name: 'app' };
  const by = (document: TenantsDocument): Tenant => parseTenants(document).byServiceAccount(account);

  test('of a namespace without tenant: a tenant by the namespace’s name, under the default policy', () => {
    const tenant = by({ tenants: [], default: { weight: 2, requestRate: { perSecond: 1, burst: 2 } } });
    expect(tenant).toMatchObject({
      name: 'team',
      namespace: 'team',
      role: 'client',
      listed: false,
      weight: 2,
      requestRate: { perSecond: 1 },
      subject: 'system:serviceaccount:team:app',
    });
  });

  test.each<[what: string, tenants: TenantEntry[], name: string, role: string]>([
    ['the tenant called like its namespace', [{ name: 'team' }], 'team', 'client'],
    ['the tenant whose namespace it is', [{ name: 'acme', namespace: 'team' }], 'acme', 'client'],
    [
      'of several there, the one called like the namespace',
      [{ name: 'a', namespace: 'team' }, { name: 'team' }],
      'team',
      'client',
    ],
    [
      'the tenant that names it, in the role given there',
      [{ name: 'team' }, { name: 'ops', serviceAccounts: [{ ...account, role: 'admin' }] }],
      'ops',
      'admin',
    ],
  ])('stand for %s', (_what, tenants, name, role) => {
    expect(by({ tenants })).toMatchObject({ name, role });
  });

  test.each<[what: string, tenants: TenantEntry[]]>([
    ['a tenant of another namespace that is called like theirs', [{ name: 'team', namespace: 'elsewhere' }]],
    [
      'one of several tenants of their namespace',
      [
        { name: 'a', namespace: 'team' },
        { name: 'b', namespace: 'team' },
      ],
    ],
  ])('do not become %s', (_what, tenants) => {
    expect(() => by({ tenants })).toThrow(expect.objectContaining({ status: 403, code: 'forbidden' }));
  });
});
