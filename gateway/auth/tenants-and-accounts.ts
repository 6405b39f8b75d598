// SPDX-License-Identifier: Apache-2.0
import type { ServiceAccounts } from './service-accounts.ts';
import type { TenantSource } from './tenants.ts';

/** Tenants that ServiceAccount tokens stand for as well: nobody is anonymous any more, whether there are API keys or not. */
export function withServiceAccounts(tenants: TenantSource, accounts: ServiceAccounts): TenantSource {
  return {
    ...tenants,
    anonymous: () => undefined,
    // The verdict is about the account; which tenant it stands for is read each time, so that a changed document holds at once.
    byToken: (token) => {
      const account = accounts.identify(token);
      if (account instanceof Promise) return account.then((known) => tenants.byServiceAccount(known));
      return tenants.byServiceAccount(account);
    },
  };
}
