// SPDX-License-Identifier: Apache-2.0
import { counter, gauge } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';

const WRITES = ['leaf', 'authority', 'tidy', 'ca-bundle'] as const;

export interface CertificateMetrics {
  wrote(what: (typeof WRITES)[number]): void;
  /** Unix ms at which what is served ends. */
  serves(until: number): void;
}

export function createCertificateMetrics(registry: Registry): CertificateMetrics {
  const writes = counter(
    registry,
    'penstock_webhook_certificate_writes_total',
    'Writes of the Secret (leaf, authority, tidy) and of webhook configurations (ca-bundle)',
    ['what'],
    WRITES.map((what) => ({ what })),
  );
  const end = gauge(
    registry,
    'penstock_webhook_certificate_not_after_seconds',
    'Unix time at which the certificate that is served ends',
  );
  return { wrote: (what) => writes.inc({ what }), serves: (until) => end.set(until / 1000) };
}
