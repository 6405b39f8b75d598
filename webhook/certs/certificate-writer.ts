// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { EventRecorder } from '#kube/events.ts';
import { SECRETS, apiVersionOf } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import type { CertificateMetrics } from './certificate-metrics.ts';
import type { WebhookConfiguration } from './ca-bundles.ts';
import { plan } from './plan.ts';
import type { Plan, Situation } from './plan.ts';
import type { CertificateSecret, SecretStore } from './secret.ts';
import type { CertificateTimes } from './times.ts';
import { readTrust, writeTrust } from './trust.ts';
import type { Trust } from './trust.ts';

/** On what cert-manager writes. */
const FOREIGN_ANNOTATION = 'cert-manager.io/certificate-name';
const FOREIGN =
  'cert-manager keeps this Secret, so it is not renewed here: either set `certificates: external`, or delete the Certificate and then this Secret';

const EVENT_TYPES = {
  CertificateRenewed: 'Normal',
  CertificateDamaged: 'Warning',
  CertificateForeign: 'Warning',
} as const;

export interface CertificateWriterOptions {
  readonly store: SecretStore;
  readonly namespace: string;
  readonly service: string;
  readonly times: CertificateTimes;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly events: EventRecorder;
  readonly metrics: CertificateMetrics;
}

export interface Work {
  /** The Secret as it was read. */
  readonly before: CertificateSecret | undefined;
  readonly situation: Situation;
  readonly signal: AbortSignal;
}

/** Carries out what `plan` says, and tells people. */
export interface CertificateWriter {
  /** @returns what the Secret says after it. @throws KubeError 409 when another replica was first */
  bringUp(work: Work): Promise<Trust>;
  tellBundle(configuration: WebhookConfiguration, trust: Trust): void;
}

export function createCertificateWriter(options: CertificateWriterOptions): CertificateWriter {
  const { store, events, metrics, logger } = options;
  const tell = (before: CertificateSecret | undefined, reason: keyof typeof EVENT_TYPES, note: string): void => {
    const regarding: KubeObject = {
      apiVersion: apiVersionOf(SECRETS),
      kind: SECRETS.kind,
      metadata: before?.metadata ?? store.ref,
    };
    events.record({ regarding, type: EVENT_TYPES[reason], reason, action: 'Renew', note });
  };
  return {
    bringUp: async ({ before, situation, signal }) => {
      const next = plan(situation);
      if (next.kind === 'keep') return situation.stored;
      if (isForeign(before)) {
        // Both would write it for ever. What it holds is served and trusted for as long as it is good.
        tell(before, 'CertificateForeign', FOREIGN);
        return situation.stored;
      }
      const data = await carryOut(next, options, situation.now);
      const written = readTrust((await store.write(before, data, signal)).data);
      metrics.wrote(next.kind);
      const what = sentence(next, situation.stored);
      logger.info({ secret: store.ref.name, what, authorities: written.authorities.length }, 'certificates written');
      tell(before, situation.stored.damage.length > 0 ? 'CertificateDamaged' : 'CertificateRenewed', what);
      return written;
    },
    tellBundle: (configuration, { authorities }) => {
      metrics.wrote('ca-bundle');
      const note = `caBundle now holds the ${authorities.length} CA(s) of Secret ${store.ref.name}`;
      logger.info({ configuration: configuration.metadata.name, authorities: authorities.length }, 'caBundle written');
      events.record({ regarding: configuration, type: 'Normal', reason: 'CABundleWritten', action: 'Trust', note });
    },
  };
}

function isForeign(secret: CertificateSecret | undefined): boolean {
  return secret?.metadata.annotations?.[FOREIGN_ANNOTATION] !== undefined;
}

async function carryOut(
  step: Exclude<Plan, { kind: 'keep' }>,
  { namespace, service, times }: CertificateWriterOptions,
  now: number,
): Promise<Record<string, string>> {
  if (step.kind === 'tidy') return writeTrust(step);
  const { mintAuthority, mintLeaf } = await import('./authority.ts');
  const host = `${service}.${namespace}.svc`;
  // The last one for clients that were given the whole name; a cluster of another domain loses nothing, the API server asks for `.svc`.
  const names = [service, `${service}.${namespace}`, host, `${host}.cluster.local`];
  const signer = step.kind === 'leaf' ? step.signer : await mintAuthority(now, times.authorityMs);
  const { certificate, key } = await mintLeaf(signer, names, now, times.leafMs);
  const authorities = step.kind === 'leaf' ? step.authorities : [signer.certificate, ...step.authorities];
  return writeTrust({ authorities, signer, leaf: { chain: certificate.toString(), key } });
}

function sentence(step: Exclude<Plan, { kind: 'keep' }>, { damage }: Trust): string {
  if (step.kind === 'tidy') {
    return damage.length > 0 ? `Removed what cannot be used: ${damage.join(', ')}` : 'Removed CAs that sign no more';
  }
  const what = step.kind === 'leaf' ? 'Made a new certificate' : 'Made a new CA and a certificate by it';
  return `${what}: ${step.reason}`;
}
