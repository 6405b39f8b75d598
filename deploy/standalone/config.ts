// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util';
import { ConfigError, loadConfig } from '#base/config.ts';
import type { ConfigSchema } from '#base/config.ts';
import { LOG_LEVELS } from '#base/logger.ts';
import type { LogLevel } from '#base/logger.ts';

export interface StandaloneConfig {
  readonly apps: string;
  readonly data: string;
  readonly host: string;
  readonly port: number;
  readonly internalPort: number;
  readonly opsPort: number;
  readonly tenants: string;
  readonly leaseSeconds: number;
  readonly logLevel: LogLevel;
}

const port = (description: string, byDefault: number) =>
  ({ type: 'integer', description, default: byDefault, minimum: 0, maximum: 65_535 }) as const;
const text = (description: string, byDefault: string) => ({ type: 'string', description, default: byDefault }) as const;

export const STANDALONE_SCHEMA: ConfigSchema<StandaloneConfig> = {
  type: 'object',
  additionalProperties: false,
  required: ['apps'],
  properties: {
    apps: { type: 'string', minLength: 1, description: 'a manifest, or a folder of manifests' },
    data: text('folder of the queue, the objects and the keys; one process at a time', '.data'),
    host: text('address of the client API; beyond loopback only with API keys', '127.0.0.1'),
    port: port('port of the client API; 0 = any free one', 8080),
    internalPort: port('port of the worker broker, on loopback; 0 = any free one', 0),
    opsPort: port('port of /healthz, /readyz and /metrics, on loopback; 0 = any free one', 0),
    tenants: text("tenants.yaml with API keys; '' = everyone on this machine is the tenant default", ''),
    leaseSeconds: {
      type: 'integer',
      default: 30,
      minimum: 1,
      maximum: 600,
      description: 'how soon the work of a dead unit is given to another one',
    },
    logLevel: { type: 'string', enum: LOG_LEVELS, default: 'info', description: 'how much is logged' },
  },
};

const FLAGS = {
  file: { type: 'string', short: 'f' },
  config: { type: 'string' },
  data: { type: 'string' },
  host: { type: 'string' },
  port: { type: 'string' },
  'internal-port': { type: 'string' },
  'ops-port': { type: 'string' },
  tenants: { type: 'string' },
  'lease-seconds': { type: 'string' },
  'log-level': { type: 'string' },
} as const;

/** Flags over PENSTOCK_* over --config over defaults. @throws ConfigError naming the setting */
export function loadStandaloneConfig(argv: readonly string[], env: NodeJS.ProcessEnv): StandaloneConfig {
  let values: Record<string, string | undefined>;
  try {
    ({ values } = parseArgs({ args: [...argv], options: FLAGS, strict: true }));
  } catch (err) {
    throw new ConfigError('command line', err instanceof Error ? err.message : 'cannot be read', { cause: err });
  }
  const { file, config, ...rest } = values;
  const flags: Record<string, unknown> = { apps: file };
  const types = STANDALONE_SCHEMA.properties as Record<string, { type: string }>;
  for (const [flag, value] of Object.entries(rest)) {
    const setting = flag.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    flags[setting] = types[setting]?.type === 'integer' && value?.trim() !== '' ? Number(value) : value;
  }
  try {
    return loadConfig<StandaloneConfig>(STANDALONE_SCHEMA, { file: config, env, flags });
  } catch (err) {
    if (!(err instanceof ConfigError) || err.path !== 'apps') throw err;
    throw new ConfigError('apps', 'say with -f what to serve: a manifest, or a folder of manifests', { cause: err });
  }
}
