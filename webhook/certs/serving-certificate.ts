// SPDX-License-Identifier: Apache-2.0
import type { Registry } from '#base/metrics.ts';
import type { EventRecorder } from '#kube/events.ts';
import type { KubeDeps } from '#kube/informer.ts';
import { CertificateKeeper } from './certificate-keeper.ts';
import type { CertificateTimes } from './times.ts';

/** What a TLS server needs, as PEM. `cert`: the leaf first, then what leads to the root. */
export interface KeyPair {
  readonly key: string;
  readonly cert: string;
}

/** The webhook's TLS certificate: found or made, renewed in time, and trusted by the webhook configurations before it is served. */
export interface ServingCertificate {
  /** What is to be served now; undefined until there is one. */
  current(): KeyPair | undefined;
  /** Calls `listener` with each new pair: `server.setSecureContext(pair)`; open connections live on. Answers how to stop listening. */
  onChange(listener: (pair: KeyPair) => void): () => void;
  /** Why a TLS connection from the API server could not succeed, or undefined. For /readyz. */
  notReady(): string | undefined;
  start(): void;
  /** Final. */
  stop(): Promise<void>;
}

export interface ServingCertificateOptions extends KubeDeps {
  /** `self`: own CA and leaf. `external`: somebody else (cert-manager) writes the Secret and the caBundles; nothing is written here. */
  readonly mode: 'self' | 'external';
  /** The webhook's own namespace: its Secret, its Service. */
  readonly namespace: string;
  /** Name of the Service by which the API server calls. */
  readonly service: string;
  readonly events: EventRecorder;
  readonly registry: Registry;
  /** Default: CA 10 years, leaf 1 year, renewed 90 days before its end. */
  readonly times?: Partial<CertificateTimes>;
}

/** @throws TypeError when the times make no sense together */
export function createServingCertificate(options: ServingCertificateOptions): ServingCertificate {
  return new CertificateKeeper(options);
}
