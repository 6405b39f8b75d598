// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '#base/clock.ts';
import type { Clock } from '#base/clock.ts';
import { parseTenantsDocument } from '#base/tenants.ts';
import type { Role, TenantsDocument } from '#base/tenants.ts';
import { gatewayError } from '../errors.ts';
import { createKeyRing } from './key-ring.ts';
import { defaultPolicy, listedPolicy } from './policy.ts';
import type { Policy } from './policy.ts';

/** Who calls, by its credential: what its tenant may do, and in which role. */
export interface Tenant extends Policy {
  readonly role: Role;
  /** Which credential, for logs: `key psk_abcd2345`, `system:serviceaccount:ns:name`, `anonymous`. Never the credential. */
  readonly subject: string;
}

/** A ServiceAccount whose token the API server has confirmed. */
export interface ServiceAccount {
  readonly namespace: string;
  readonly name: string;
}

/** Of one document; it never changes. */
export interface Policies {
  /** Names of the tenants of the document. */
  names(): Iterable<string>;
  /** The policy under which work of a tenant goes on, also of one that has no entry (any more). */
  of(name: string): Policy;
}

/** Who may call. Reads are from memory. */
export interface TenantSource {
  /** The tenant of an API key; 'expired' for one whose time is over. */
  byApiKey(key: string): Tenant | 'expired' | undefined;
  /** @throws ProblemError 403 when it stands for no one tenant */
  byServiceAccount(account: ServiceAccount): Tenant;
  /**
   * The tenant of a bearer token that has the form of a JWT; absent where nobody can check one.
   * @throws ProblemError 401, 403, or 503 while it cannot be checked
   */
  byToken?(token: string): Tenant | Promise<Tenant>;
  /** Whom a caller without a credential is taken for; undefined wherever callers are told apart, keys or not. */
  anonymous(): Tenant | undefined;
  /** API keys known. */
  keyCount(): number;
  /** The policies in force: the same object as long as they are. */
  policies(): Policies;
  /** Tenants without an entry that have called here lately. */
  strangers?(): Iterable<string>;
  /** Called after each change of the document. Answers the way to stop; absent = it never changes. */
  onChange?(listener: () => void): () => void;
  /** What is wrong with the document as it lies there now, while the last good one is in force. */
  trouble?(): string | undefined;
}

/** Whom requests without a credential belong to where no document is configured: standalone on one machine. */
const DEFAULT_NAME = 'default';
export const DEFAULT_TENANT = defaultPolicy(DEFAULT_NAME);

/**
 * @throws TenantsError naming field and fix
 */
export function parseTenants(document: unknown, clock: Pick<Clock, 'now'> = systemClock): TenantSource {
  return createTenants(parseTenantsDocument(document), clock);
}

/** No document: one tenant for everyone who reaches the port. */
export function openTenants(): TenantSource {
  const none = createTenants({ tenants: [] }, systemClock);
  // Whoever reaches a gateway without a document sits at its machine (it binds to loopback only), and may do all there is.
  const anyone: Tenant = { ...none.policies().of(DEFAULT_NAME), role: 'admin', subject: 'anonymous' };
  return { ...none, anonymous: () => anyone };
}

/**
 * Nobody of a document is anonymous, whatever is in it: to take the last key out must not make an admin of everyone.
 * @param home namespace of tenants whose entry names none; absent = each one's name
 */
export function createTenants(document: TenantsDocument, clock: Pick<Clock, 'now'>, home?: string): TenantSource {
  const entries = document.tenants.map((entry) => ({ entry, policy: listedPolicy(entry, home) }));
  const byName = new Map(entries.map(({ policy }) => [policy.name, policy]));
  const ring = createKeyRing(entries.map(({ entry, policy }) => ({ policy, keys: entry.apiKeys ?? [] })));
  const policies: Policies = {
    names: () => byName.keys(),
    of: (name) => byName.get(name) ?? defaultPolicy(name, document.default, home),
  };
  return {
    byApiKey: (key) => {
      const held = ring.find(key);
      if (held === undefined) return undefined;
      return held.expiresAt <= clock.now() ? 'expired' : held.tenant;
    },
    byServiceAccount: serviceAccounts(document, entries),
    anonymous: () => undefined,
    keyCount: () => ring.size,
    policies: () => policies,
    strangers: () => (byName.has(DEFAULT_NAME) ? [] : [DEFAULT_NAME]),
  };
}

type Entries = readonly { readonly entry: TenantsDocument['tenants'][number]; readonly policy: Policy }[];

function serviceAccounts(document: TenantsDocument, entries: Entries): TenantSource['byServiceAccount'] {
  const named = new Map<string, { readonly policy: Policy; readonly role: Role }>();
  const byNamespace = new Map<string, Policy[]>();
  const taken = new Set<string>();
  for (const { entry, policy } of entries) {
    taken.add(policy.name);
    byNamespace.set(policy.namespace, [...(byNamespace.get(policy.namespace) ?? []), policy]);
    for (const { namespace, name, role = 'client' } of entry.serviceAccounts ?? []) {
      named.set(`${namespace}/${name}`, { policy, role });
    }
  }
  return ({ namespace, name }) => {
    const subject = `system:serviceaccount:${namespace}:${name}`;
    const own = named.get(`${namespace}/${name}`);
    if (own !== undefined) return { ...own.policy, role: own.role, subject };
    const there = byNamespace.get(namespace) ?? [];
    const policy = there.length > 1 ? there.find((one) => one.name === namespace) : there[0];
    if (policy !== undefined) return { ...policy, role: 'client', subject };
    // Not by name alone: whoever may make a namespace would become the tenant that happens to be called like it.
    if (there.length > 1 || taken.has(namespace)) throw noOneTenant(namespace);
    return { ...defaultPolicy(namespace, document.default), role: 'client', subject };
  };
}

function noOneTenant(namespace: string): Error {
  return gatewayError('forbidden', `a ServiceAccount of namespace ${namespace} stands for no one tenant here`, {
    field: 'header:Authorization',
    fix: 'have it named in serviceAccounts of its tenant in tenants.yaml',
  });
}
