// SPDX-License-Identifier: Apache-2.0
import type { TenantSource } from '#gateway/auth/tenants.ts';
import { POLICIES } from './fleet.ts';
import type { Fleet, Share } from './fleet.ts';

/** The largest bounds that were ever in force: what waits or runs under a larger one goes on. */
export interface Caps {
  readonly bobInFlight: number;
  readonly eveQueued: number;
}

const FIRST: Share = {
  bobWeight: POLICIES.bob.weight,
  bobInFlight: POLICIES.bob.maxInFlight,
  eveQueued: POLICIES.eve.maxQueued,
};
export const FIRST_CAPS: Caps = FIRST;

/** The tenants of one schedule: their shares change while it runs, as somebody edits the document. */
export interface ChangingTenants {
  readonly source: TenantSource;
  readonly caps: () => Caps;
  /** Absent: as they were in the beginning. */
  change(share?: Share): void;
}

export function changingTenants(fleet: Fleet): ChangingTenants {
  let current = fleet.tenants;
  let caps = FIRST_CAPS;
  const listeners = new Set<() => void>();
  const source: TenantSource = {
    byApiKey: (key) => current.byApiKey(key),
    byServiceAccount: (account) => current.byServiceAccount(account),
    anonymous: () => current.anonymous(),
    keyCount: () => current.keyCount(),
    policies: () => current.policies(),
    strangers: () => current.strangers?.() ?? [],
    onChange: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  return {
    source,
    caps: () => caps,
    change: (share = FIRST) => {
      current = fleet.tenantsWith(share);
      caps = {
        bobInFlight: Math.max(caps.bobInFlight, share.bobInFlight),
        eveQueued: Math.max(caps.eveQueued, share.eveQueued),
      };
      for (const listener of listeners) listener();
    },
  };
}
