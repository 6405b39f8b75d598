// SPDX-License-Identifier: Apache-2.0
import type { ServiceAccounts } from './service-accounts.ts';
import { STRANGERS_MAX } from '../limits.ts';
import type { ServiceAccount, Tenant, TenantSource } from './tenants.ts';

/** Tenants that ServiceAccount tokens stand for as well: nobody is anonymous any more, whether there are API keys or not. */
export function withServiceAccounts(tenants: TenantSource, accounts: ServiceAccounts): TenantSource {
  const strangers = new Set<string>();
  // The verdict is about the account; which tenant it stands for is read each time, so that a changed document holds at once.
  const tenantOf = (account: ServiceAccount): Tenant => {
    const tenant = tenants.byServiceAccount(account);
    if (!tenant.listed && strangers.size < STRANGERS_MAX) strangers.add(tenant.name);
    return tenant;
  };
  return {
    ...tenants,
    anonymous: () => undefined,
    strangers: () => strangers,
    byToken: (token) => {
      const account = accounts.identify(token);
      return account instanceof Promise ? account.then(tenantOf) : tenantOf(account);
    },
  };
}
