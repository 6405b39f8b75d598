// SPDX-License-Identifier: Apache-2.0
import { echo } from '#crds/field-error.ts';
import { OBJECTS } from '#crds/names.ts';
import { ConfigError, envName, loadConfig } from '#base/config.ts';
import type { ConfigSchema, ConfigSources } from '#base/config.ts';
import { LOG_LEVELS } from '#base/logger.ts';
import type { LogLevel } from '#base/logger.ts';
import { isImageReference } from './validate/image-reference.ts';

/** Settings of the webhook: defaults < YAML file < PENSTOCK_* < flags. What is sliced, and how, stands in ConfigMap penstock-slicing. */
export interface WebhookConfig {
  readonly namespace: string;
  readonly instance: string;
  readonly host: string;
  readonly port: number;
  readonly opsHost: string;
  readonly opsPort: number;
  readonly certificates: 'self' | 'external';
  readonly certificateDays: number;
  readonly certificateRenewalDays: number;
  readonly vramImage: string;
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  readonly drainSeconds: number;
  readonly syncGraceSeconds: number;
  readonly missedSeconds: number;
  readonly clientCa: string;
  readonly kubeconfig: string;
  readonly logLevel: LogLevel;
}

const PORT = { type: 'integer', minimum: 0, maximum: 65_535 } as const;

export const WEBHOOK_SCHEMA: ConfigSchema<WebhookConfig> = {
  type: 'object',
  additionalProperties: false,
  required: ['vramImage'],
  properties: {
    namespace: {
      type: 'string',
      default: OBJECTS.systemNamespace,
      pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$',
      description: "the webhook's own namespace: its certificate, its Service, its policy, the tenants' document",
    },
    instance: { type: 'string', default: '', description: "name of this replica; '' = the host name" },
    host: { type: 'string', default: '127.0.0.1', description: 'address of the admission port (TLS)' },
    port: { ...PORT, default: 9443, description: 'port of the same; 0 = any free one' },
    opsHost: { type: 'string', default: '127.0.0.1', description: 'address of /healthz, /readyz and /metrics' },
    opsPort: { ...PORT, default: 9462, description: 'port of the same; 0 = any free one' },
    certificates: {
      type: 'string',
      enum: ['self', 'external'],
      default: 'self',
      description:
        'self: own CA and certificate, renewed and written into the webhook configurations; external: cert-manager does both',
    },
    certificateDays: {
      type: 'integer',
      default: 365,
      minimum: 2,
      maximum: 3650,
      description: 'life of an own certificate; its CA lives for ten years',
    },
    certificateRenewalDays: {
      type: 'integer',
      default: 90,
      minimum: 1,
      maximum: 3649,
      description: 'an own certificate is renewed this long before its end; less than certificateDays',
    },
    vramImage: {
      type: 'string',
      minLength: 1,
      description: 'image with the libraries that hold a container to its share',
    },
    imagePullPolicy: {
      type: 'string',
      enum: ['Always', 'IfNotPresent', 'Never'],
      default: 'IfNotPresent',
      description: 'imagePullPolicy of that image in sliced pods',
    },
    drainSeconds: {
      type: 'integer',
      default: 10,
      minimum: 0,
      // With the notice and the end of connections below the 25 s of a shutdown.
      maximum: 15,
      description:
        'how long it serves on after SIGTERM, not ready any more: API servers hear of an end later than the pod does',
    },
    syncGraceSeconds: {
      type: 'integer',
      default: 20,
      minimum: 0,
      maximum: 600,
      description:
        'after this long it is ready even if nodes, namespaces or the policy could not be read: pods that need them pass whole',
    },
    missedSeconds: {
      type: 'integer',
      default: 300,
      minimum: 10,
      maximum: 86_400,
      description: 'how often one of the replicas looks for pods that passed while none was there',
    },
    clientCa: {
      type: 'string',
      default: '',
      description:
        "PEM file of CAs; only clients with a certificate by one of them are let in, so the API servers need one; '' = anybody who reaches the port",
    },
    kubeconfig: {
      type: 'string',
      default: '',
      description: "kubeconfig file; '' = KUBECONFIG, ~/.kube, or the pod's account",
    },
    logLevel: { type: 'string', enum: LOG_LEVELS, default: 'info', description: 'how much is logged' },
  },
};

/** @throws ConfigError naming the setting */
export function loadWebhookConfig(sources: ConfigSources): WebhookConfig {
  const config = loadConfig(WEBHOOK_SCHEMA, sources);
  const { vramImage } = config;
  // Every pod with a slice would wait for it, and be told by its kubelet only.
  if (!isImageReference(vramImage)) {
    throw new ConfigError(
      'vramImage',
      `${echo(vramImage)} is no image reference, such as penstock/vram:dev; see ${envName('vramImage')}`,
    );
  }
  return config;
}
