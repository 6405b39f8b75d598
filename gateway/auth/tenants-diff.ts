// SPDX-License-Identifier: Apache-2.0
import { isDeepStrictEqual } from 'node:util';
import type { ApiKeyEntry, ServiceAccountEntry, TenantEntry, TenantsDocument } from '#base/tenants.ts';

/** Tenants of a change that the audit log names one by one; of a larger one it says how many more. */
const NAMED_MAX = 100;

/** Before and after of what changed between two documents. Keys go by prefix and role: neither key nor digest is in it. */
export interface DocumentChanges {
  readonly before: Readonly<Record<string, unknown>>;
  readonly after: Readonly<Record<string, unknown>>;
}

export function changesOf(before: TenantsDocument, after: TenantsDocument): DocumentChanges {
  const old = new Map(before.tenants.map((tenant) => [tenant.name, tenant]));
  const now = new Map(after.tenants.map((tenant) => [tenant.name, tenant]));
  const names = [...new Set([...old.keys(), ...now.keys()])];
  const changed = names.filter((name) => !isDeepStrictEqual(old.get(name), now.get(name)));
  const of = (document: TenantsDocument, byName: ReadonlyMap<string, TenantEntry>) => ({
    tenants: Object.fromEntries(changed.slice(0, NAMED_MAX).map((name) => [name, shown(byName.get(name))])),
    ...(changed.length > NAMED_MAX ? { more: changed.length - NAMED_MAX } : {}),
    ...(isDeepStrictEqual(before.default, after.default) ? {} : { default: document.default ?? null }),
  });
  return { before: of(before, old), after: of(after, now) };
}

function shown(tenant: TenantEntry | undefined): object | null {
  if (tenant === undefined) return null;
  const { apiKeys, serviceAccounts, ...policy } = tenant;
  return {
    ...policy,
    ...(apiKeys === undefined ? {} : { apiKeys: apiKeys.map(keyText) }),
    ...(serviceAccounts === undefined ? {} : { serviceAccounts: serviceAccounts.map(accountText) }),
  };
}

/** `psk_abcd2345 admin until 2027-01-01T00:00:00Z` */
function keyText({ prefix, sha256, role = 'client', expiresAt }: ApiKeyEntry): string {
  const label = prefix ?? `sha256:${sha256.slice(0, 8)}`;
  return `${label} ${role}${expiresAt === undefined ? '' : ` until ${expiresAt}`}`;
}

function accountText({ namespace, name, role = 'client' }: ServiceAccountEntry): string {
  return `${namespace}/${name} ${role}`;
}
