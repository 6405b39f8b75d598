// SPDX-License-Identifier: Apache-2.0
import type { AppCaps, RequestRate, TenantEntry, TenantPolicy } from '#base/tenants.ts';
import type { TenantShare } from '../queue/lease-queue.ts';

/** What names an app for a tenant. */
export interface AppName {
  readonly namespace: string;
  readonly name: string;
}

/** What a tenant may do, whichever credential it comes with. */
export interface Policy {
  readonly name: string;
  /** Of apps that are named without one. */
  readonly namespace: string;
  /** Whether it stands in the tenants' document; else the default policy made it up. */
  readonly listed: boolean;
  readonly weight: number;
  /** Highest priority that a request of it may have. */
  readonly priorityCeiling: number;
  /** Absent = no bound. */
  readonly requestRate?: RequestRate;
  /** What the queue has to know. The same object for the same app, as long as the document is the same. */
  shareFor(app: AppName): TenantShare;
  /** Whether the tenant may know of this app at all. */
  mayCall(app: AppName): boolean;
}

/** @param home its namespace, where the entry names none */
export function listedPolicy(entry: TenantEntry, home = entry.name): Policy {
  const namespace = entry.namespace ?? home;
  const weight = entry.weight ?? 1;
  const share = shareOf(weight, entry);
  const shares = new Map(
    Object.entries(entry.appLimits ?? {}).map(([app, caps]) => [
      fullName(app, namespace),
      shareOf(weight, { ...entry, ...caps }),
    ]),
  );
  return {
    ...basics(entry.name, namespace, entry),
    listed: true,
    shareFor: shares.size === 0 ? () => share : (app) => shares.get(`${app.namespace}.${app.name}`) ?? share,
    mayCall: callable(entry.apps, namespace),
  };
}

/** Of a tenant without an entry. */
export function defaultPolicy(name: string, policy: TenantPolicy = {}, home = name): Policy {
  const share = shareOf(policy.weight ?? 1, policy);
  return {
    ...basics(name, home, policy),
    listed: false,
    shareFor: () => share,
    mayCall: ({ namespace }) => namespace === home,
  };
}

function basics(name: string, namespace: string, { weight = 1, priorityCeiling = 0, requestRate }: TenantPolicy) {
  return { name, namespace, weight, priorityCeiling, ...(requestRate === undefined ? {} : { requestRate }) };
}

function shareOf(weight: number, { maxInFlight, maxQueued }: AppCaps): TenantShare {
  return {
    weight,
    ...(maxInFlight === undefined ? {} : { maxInFlight }),
    ...(maxQueued === undefined ? {} : { maxQueued }),
  };
}

function callable(apps: readonly string[] | undefined, own: string): Policy['mayCall'] {
  if (apps === undefined) return ({ namespace }) => namespace === own;
  const names = new Set(apps.map((app) => fullName(app, own)));
  return ({ namespace, name }) => names.has(`${namespace}.${name}`) || names.has(`${namespace}.*`);
}

/** Neither namespaces nor apps have a dot in their names. */
function fullName(app: string, namespace: string): string {
  return app.includes('.') ? app : `${namespace}.${app}`;
}
