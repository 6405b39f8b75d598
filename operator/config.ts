// SPDX-License-Identifier: Apache-2.0
import { OBJECTS } from '#crds/names.ts';
import type { ConfigSchema } from '#base/config.ts';
import { LOG_LEVELS } from '#base/logger.ts';
import type { LogLevel } from '#base/logger.ts';

/** Settings of the operator: defaults < YAML file < PENSTOCK_* < flags. */
export interface OperatorConfig {
  readonly namespace: string;
  readonly instance: string;
  readonly gatewayUrl: string;
  readonly brokerUrl: string;
  readonly workerImage: string;
  readonly imagePullPolicy: 'Always' | 'IfNotPresent' | 'Never';
  readonly kubeconfig: string;
  readonly opsHost: string;
  readonly opsPort: number;
  readonly workers: number;
  readonly logLevel: LogLevel;
}

const ORIGIN = '^https?://[^/]+/?$';

export const OPERATOR_SCHEMA: ConfigSchema<OperatorConfig> = {
  type: 'object',
  additionalProperties: false,
  required: ['gatewayUrl', 'workerImage'],
  properties: {
    namespace: {
      type: 'string',
      default: OBJECTS.systemNamespace,
      pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$',
      description: "the operator's own namespace: its Lease, its keys, the published issuer",
    },
    instance: { type: 'string', default: '', description: "name of this replica; '' = the host name" },
    gatewayUrl: {
      type: 'string',
      pattern: ORIGIN,
      description: "origin of the gateway's internal port as the operator reaches it, http://host:port",
    },
    brokerUrl: {
      type: 'string',
      default: '',
      pattern: '^(https?://[^/]+/?)?$',
      description: "the same as units reach it; '' = gatewayUrl",
    },
    workerImage: { type: 'string', minLength: 1, description: 'image of the adapter beside model servers' },
    imagePullPolicy: {
      type: 'string',
      enum: ['Always', 'IfNotPresent', 'Never'],
      default: 'IfNotPresent',
      description: "imagePullPolicy of units' containers",
    },
    kubeconfig: {
      type: 'string',
      default: '',
      description: "kubeconfig file; '' = KUBECONFIG, ~/.kube, or the pod's account",
    },
    opsHost: { type: 'string', default: '127.0.0.1', description: 'address of /healthz, /readyz and /metrics' },
    opsPort: {
      type: 'integer',
      default: 9461,
      minimum: 0,
      maximum: 65_535,
      description: 'port of the same; 0 = any free one',
    },
    workers: { type: 'integer', default: 4, minimum: 1, maximum: 64, description: 'apps reconciled at the same time' },
    logLevel: { type: 'string', enum: LOG_LEVELS, default: 'info', description: 'how much is logged' },
  },
};
