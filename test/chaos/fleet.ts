// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import { generateIssuerKey, publicJwks } from '#base/issuer.ts';
import type { Jwks, PrivateJwk } from '#base/issuer.ts';
import { parseTenants } from '#gateway/auth/tenants.ts';
import type { TenantSource } from '#gateway/auth/tenants.ts';
import { deriveKey, deriveKeys } from '#gateway/keys.ts';
import type { GatewayDeps } from '#gateway/options.ts';
import { createTickets } from '#gateway/tickets/ticket.ts';

export const APP_UID = 'chaos-app';
export const APP_NAMESPACE = 'default';
export const APP_NAME = 'echo';
export const TENANTS = ['ann', 'bob', 'eve'] as const;
export type TenantName = (typeof TENANTS)[number];
/** Of each kind of bound one tenant has one: low enough to be met. */
export const POLICIES = {
  ann: { priorityCeiling: 10 },
  bob: { priorityCeiling: 10, weight: 3, maxInFlight: 2 },
  eve: { priorityCeiling: 10, maxQueued: 5 },
} as const;

/** What a schedule changes of them. */
export interface Share {
  readonly bobWeight: number;
  readonly bobInFlight: number;
  readonly eveQueued: number;
}

/** What all gateways of a run and their operator share. Made once: keys cost more than a schedule. */
export interface Fleet {
  readonly operatorKey: PrivateJwk;
  readonly jwks: Jwks;
  readonly keys: GatewayDeps['keys'];
  readonly objectsKey: Uint8Array;
  readonly tenants: TenantSource;
  /** Of an admin, who looks after dead letters. */
  readonly adminKey: string;
  tenantsWith(share: Share): TenantSource;
  apiKey(tenant: TenantName): string;
  /** The id in a ticket. @throws Error for one that no gateway of this fleet made */
  idOf(tenant: TenantName, ticket: string): string;
}

export async function makeFleet(master: Uint8Array, operatorKey?: PrivateJwk): Promise<Fleet> {
  const key = operatorKey ?? (await generateIssuerKey());
  const keys = await deriveKeys(master);
  const tickets = createTickets(keys.ticketKey);
  const apiKey = (tenant: TenantName): string => `key-of-${tenant}`;
  const adminKey = 'key-of-admin';
  const keysOf = (name: TenantName) => [
    { sha256: hash('sha256', apiKey(name)) },
    ...(name === 'ann' ? [{ sha256: hash('sha256', adminKey), role: 'admin' }] : []),
  ];
  const tenantsOf = (policies: Readonly<Record<TenantName, object>>): TenantSource =>
    parseTenants({
      tenants: TENANTS.map((name) => ({ name, namespace: APP_NAMESPACE, ...policies[name], apiKeys: keysOf(name) })),
    });
  return {
    operatorKey: key,
    jwks: publicJwks([key]),
    keys,
    objectsKey: deriveKey(master, 'objects'),
    tenants: tenantsOf(POLICIES),
    adminKey,
    tenantsWith: ({ bobWeight, bobInFlight, eveQueued }) =>
      tenantsOf({
        ...POLICIES,
        bob: { ...POLICIES.bob, weight: bobWeight, maxInFlight: bobInFlight },
        eve: { ...POLICIES.eve, maxQueued: eveQueued },
      }),
    apiKey,
    idOf: (tenant, ticket) => {
      const id = tickets.verify({ appUid: APP_UID, tenant }, ticket);
      if (id === undefined) throw new Error(`${ticket} is no ticket of ${tenant}`);
      return id;
    },
  };
}
