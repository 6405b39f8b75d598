// SPDX-License-Identifier: Apache-2.0
import { counter } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import type { TenantSource } from './auth/tenants.ts';
import { TENANT_LABELS_MAX } from './limits.ts';

const OUTCOMES = ['queued', 'joined', 'rate-limited', 'queue-full'] as const;
export type SubmitOutcome = (typeof OUTCOMES)[number];

/** Label of every tenant without an entry in the document: their names are made up by whoever may make a namespace. */
const OTHER = 'other';

export interface TenantMetrics {
  readonly submitted: (tenant: string, outcome: SubmitOutcome) => void;
  /** The document has changed: new tenants begin at 0, those that left it keep their counts for when they come back. */
  readonly renew: () => void;
}

type Children = Readonly<Record<SubmitOutcome, () => void>>;

export function createTenantMetrics(registry: Registry, tenants: Pick<TenantSource, 'policies'>): TenantMetrics {
  const submits = counter(
    registry,
    'penstock_gateway_tenant_requests_total',
    'Requests submitted, by tenant and what became of them; tenants without an entry in tenants.yaml are other.',
    ['tenant', 'outcome'],
  );
  // To look a labelled child up takes a hash of its labels per call; the hot path keeps its own.
  let children = new Map<string, Children>();
  // Of tenants that left the document, in that order. Removed only to make room: a counter that begins anew reads as a restart.
  const gone = new Map<string, Children>();
  let other: Children;

  const childrenOf = (tenant: string): Children => {
    const child = (outcome: SubmitOutcome) => {
      const one = submits.labels({ tenant, outcome });
      one.inc(0);
      return () => one.inc();
    };
    return {
      queued: child('queued'),
      joined: child('joined'),
      'rate-limited': child('rate-limited'),
      'queue-full': child('queue-full'),
    };
  };
  const renew = (): void => {
    const names = new Set([...tenants.policies().names()].slice(0, TENANT_LABELS_MAX));
    for (const [name, own] of children) if (!names.has(name)) gone.set(name, own);
    children = new Map([...names].map((name) => [name, children.get(name) ?? gone.get(name) ?? childrenOf(name)]));
    for (const name of names) gone.delete(name);
    for (const name of [...gone.keys()].slice(0, Math.max(0, names.size + gone.size - TENANT_LABELS_MAX))) {
      gone.delete(name);
      for (const outcome of OUTCOMES) submits.remove({ tenant: name, outcome });
    }
    other = childrenOf(OTHER);
  };
  other = childrenOf(OTHER);
  renew();
  return { submitted: (tenant, outcome) => (children.get(tenant) ?? other)[outcome](), renew };
}
