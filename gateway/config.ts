// SPDX-License-Identifier: Apache-2.0
import { loadConfig } from '#base/config.ts';
import type { ConfigSchema, ConfigSources } from '#base/config.ts';
import type { LogLevel } from '#base/logger.ts';

/** Settings of the gateway's process. Durations in seconds. */
export interface GatewayConfig {
  readonly clientHost: string;
  readonly clientPort: number;
  readonly internalHost: string;
  readonly internalPort: number;
  readonly opsHost: string;
  readonly opsPort: number;
  readonly logLevel: LogLevel;
  readonly accessLog: boolean;
  readonly data: string;
  readonly secretFile?: string;
  readonly queue: 'embedded' | 'redis';
  readonly redisUrl: string;
  readonly redisPrefix: string;
  readonly durability: 'required' | 'reported';
  readonly store: 'local' | 's3';
  readonly publicUrl?: string;
  readonly internalUrl?: string;
  readonly s3Endpoint?: string;
  readonly s3PublicEndpoint?: string;
  readonly s3Region: string;
  readonly s3Bucket: string;
  readonly s3AccessKeyId?: string;
  readonly s3SecretAccessKey?: string;
  readonly s3Prefix: string;
  readonly s3CreateBucket: boolean;
  readonly apps: 'kubernetes' | 'files';
  readonly appsPath: string;
  readonly tenantsFile?: string;
  readonly tokenReview: boolean;
  readonly auditFile?: string;
  readonly issuer: 'kubernetes' | 'file';
  readonly issuerFile: string;
  readonly issuerNamespace: string;
  readonly leaseSeconds: number;
  readonly lameDuckSeconds: number;
}

const host = (value: string, description: string) => ({ type: 'string', default: value, minLength: 1, description });
const port = (value: number, description: string) => ({
  type: 'integer',
  default: value,
  minimum: 0,
  maximum: 65_535,
  description,
});
const choice = (values: readonly string[], description: string) => ({
  type: 'string',
  enum: values,
  default: values[0],
  description,
});
const text = (value: string, description: string) => ({ type: 'string', default: value, description });
const optional = (description: string) => ({ type: 'string', nullable: true, minLength: 1, description });
const flag = (value: boolean, description: string) => ({ type: 'boolean', default: value, description });

// JSONSchemaType cannot follow helpers; the interface above is what the schema says, property by property.
export const GATEWAY_CONFIG_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  required: [],
  properties: {
    clientHost: host('127.0.0.1', 'Address of the client API. Beyond loopback only with API keys.'),
    clientPort: port(8080, 'Port of the client API; 0 = any free one.'),
    internalHost: host('127.0.0.1', 'Address of the worker broker and the operator’s calls.'),
    internalPort: port(8081, 'Port of the worker broker; 0 = any free one.'),
    opsHost: host('127.0.0.1', 'Address of health and metrics.'),
    opsPort: port(9090, 'Port of /healthz, /readyz and /metrics.'),
    logLevel: choice(['info', 'debug', 'warn', 'error', 'silent'], 'Least severe lines that are written.'),
    accessLog: flag(true, 'One line per answer.'),
    data: text('data', 'Folder of the embedded queue, the local store and generated secrets.'),
    secretFile: optional(
      'File with the gateway’s secret, at least 32 bytes, equal on all replicas; default: made in data.',
    ),
    queue: choice(['embedded', 'redis'], 'Driver of the lease queue.'),
    redisUrl: text('redis://127.0.0.1:6379', 'Redis of the queue driver redis.'),
    redisPrefix: text('penstock', 'First part of every key in Redis.'),
    durability: choice(
      ['reported', 'required'],
      'required refuses to start when an accepted request is not on disk before its 202.',
    ),
    store: choice(['local', 's3'], 'Driver of the object store.'),
    publicUrl: optional('Base URL under which clients reach the client port; default: its address.'),
    internalUrl: optional('Base URL under which workers reach the internal port; default: its address.'),
    s3Endpoint: optional('Where gateway and workers reach S3.'),
    s3PublicEndpoint: optional('Where clients reach the same S3; default: s3Endpoint.'),
    s3Region: text('us-east-1', 'Region of the bucket.'),
    s3Bucket: text('penstock', 'Bucket of bodies and results.'),
    s3AccessKeyId: optional('Access key of the bucket.'),
    s3SecretAccessKey: optional('Secret key of the bucket.'),
    s3Prefix: text('', 'Put before every object key, ending in a slash.'),
    s3CreateBucket: flag(false, 'Make the bucket when it is not there.'),
    apps: choice(['kubernetes', 'files'], 'Where apps come from.'),
    appsPath: text('apps', 'Manifest or folder of manifests, for apps: files.'),
    tenantsFile: optional('tenants.yaml, read again when it changes.'),
    tokenReview: flag(
      false,
      'Take ServiceAccount tokens of the cluster (audience penstock), which the API server confirms by TokenReview.',
    ),
    auditFile: optional('File that the audit log is appended to; default: standard output.'),
    issuer: choice(['kubernetes', 'file'], 'Where the operator’s public keys come from.'),
    issuerFile: text('jwks.json', 'JWKS of the operator, for issuer: file.'),
    issuerNamespace: text('penstock-system', 'Namespace of ConfigMap penstock-issuer.'),
    leaseSeconds: { type: 'integer', default: 30, minimum: 3, maximum: 600, description: 'Lease without extension.' },
    lameDuckSeconds: {
      type: 'integer',
      default: 0,
      minimum: 0,
      maximum: 15,
      description: 'Time between readiness off and the end of listening.',
    },
  },
} as unknown as ConfigSchema<GatewayConfig>;

/** @throws ConfigError naming the setting */
export function loadGatewayConfig(sources: ConfigSources): GatewayConfig {
  return loadConfig(GATEWAY_CONFIG_SCHEMA, sources);
}
