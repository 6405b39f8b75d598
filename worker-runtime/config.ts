// SPDX-License-Identifier: Apache-2.0
/**
 * Settings of a unit. Each is an environment variable (names: `#base/wire/unit-env.ts`) and a flag (`--broker-url`), flags win.
 * `''` and `0` mean "not set" where the text says so.
 */
import { parseArgs } from 'node:util';
import { ConfigError, envName, loadConfig } from '#base/config.ts';
import type { ConfigSchema } from '#base/config.ts';
import { LOG_LEVELS } from '#base/logger.ts';
import type { LogLevel } from '#base/logger.ts';
import { LEASE_BATCH_MAX, LEASE_WAIT_MAX_SECONDS } from '#base/wire/broker.ts';
import { UNIT_OPS_PORT } from '#base/wire/unit-env.ts';

export interface UnitConfig {
  readonly brokerUrl: string;
  readonly unitTokenFile: string;
  readonly archetype: 'Handler' | 'Sidecar';
  readonly handler: string;
  readonly python: string;
  readonly instances: number;
  readonly concurrency: number;
  readonly batchSize: number;
  readonly maxJobs: number;
  readonly leaseWaitSeconds: number;
  readonly graceSeconds: number;
  readonly brokerLostSeconds: number;
  readonly readyFile: string;
  readonly readyTimeoutSeconds: number;
  readonly serverHost: string;
  readonly serverPort: number;
  readonly serverPath: string;
  readonly serverMethod: string;
  readonly serverContentType: string;
  readonly serverHealthPath: string;
  readonly command: string;
  readonly parentPipe: boolean;
  readonly opsHost: string;
  readonly opsPort: number;
  readonly logLevel: LogLevel;
}

const text = (description: string, byDefault?: string) =>
  ({ type: 'string', description, ...(byDefault === undefined ? {} : { default: byDefault }) }) as const;
const integer = (description: string, byDefault: number, minimum: number, maximum: number) =>
  ({ type: 'integer', description, default: byDefault, minimum, maximum }) as const;

const DAY_SECONDS = 86_400;

export const UNIT_SCHEMA: ConfigSchema<UnitConfig> = {
  type: 'object',
  additionalProperties: false,
  required: ['brokerUrl', 'unitTokenFile', 'archetype'],
  properties: {
    brokerUrl: { ...text("origin of the gateway's internal port, http://host:port"), pattern: '^https?://[^/]+/?$' },
    unitTokenFile: text('file with the unit token; read again on every renewal'),
    archetype: { type: 'string', enum: ['Handler', 'Sidecar'], description: 'spec.worker.archetype' },
    handler: text("Handler: path of a TypeScript or JavaScript module, or Python's module:Class", ''),
    python: text('Handler in Python: the interpreter', 'python3'),
    instances: integer('Handler: copies, started one after another', 1, 1, 64),
    concurrency: integer('most requests held at once', 1, 1, 256),
    batchSize: integer('Handler: most requests in one predict; 0 = what the handler declares, else 1', 0, 0, 256),
    maxJobs: integer('requests after which the unit leaves; 0 = no limit', 0, 0, 1_000_000_000),
    leaseWaitSeconds: integer('how long one lease call waits for work', 25, 0, LEASE_WAIT_MAX_SECONDS),
    graceSeconds: integer('after SIGTERM: time to finish what is held before the rest is released', 25, 0, DAY_SECONDS),
    brokerLostSeconds: integer('a gateway unreachable for so long ends the unit', 900, 1, DAY_SECONDS),
    readyFile: text("file that exists while the unit may lease; '' = none", ''),
    readyTimeoutSeconds: integer('time for load(), or for the model server to become healthy', 600, 1, DAY_SECONDS),
    serverHost: text('Sidecar: where the model server listens', '127.0.0.1'),
    serverPort: integer('Sidecar: port of the model server', 0, 0, 65_535),
    serverPath: text('Sidecar: path to which bodies go', '/'),
    serverMethod: text('Sidecar: POST, PUT or PATCH', 'POST'),
    serverContentType: text("Sidecar: content type sent to the model server; '' = the client's", ''),
    serverHealthPath: text('Sidecar: answers 2xx once the model is loaded', '/healthz'),
    command: text(
      "Sidecar without a kubelet: JSON array with the model server's command; '' = it is started elsewhere",
      '',
    ),
    parentPipe: {
      type: 'boolean',
      default: false,
      description: 'end at once when standard input ends: the parent is gone',
    },
    opsHost: text('address of /healthz, /readyz and /metrics', '127.0.0.1'),
    opsPort: integer(`port of the same; 0 = any free one (pods: ${UNIT_OPS_PORT})`, 0, 0, 65_535),
    logLevel: { type: 'string', enum: LOG_LEVELS, default: 'info', description: 'how much is logged' },
  },
};

/** At most this many leases in one call, whatever the concurrency: the wire's limit. */
export const LEASE_CALL_MAX = LEASE_BATCH_MAX;

/** @throws ConfigError naming the setting */
export function loadUnitConfig(env: NodeJS.ProcessEnv, argv: readonly string[]): UnitConfig {
  const config = loadConfig<UnitConfig>(UNIT_SCHEMA, { env, flags: flagsOf(argv) });
  if (config.archetype === 'Handler' && config.handler === '')
    throw new ConfigError('handler', `is required for archetype Handler; set ${envName('handler')}`);
  if (config.archetype === 'Sidecar' && config.serverPort === 0)
    throw new ConfigError('serverPort', `is required for archetype Sidecar; set ${envName('serverPort')}`);
  commandOf(config);
  return config;
}

/** The model server's command, or undefined when somebody else starts it. @throws ConfigError */
export function commandOf(config: UnitConfig): readonly [string, ...string[]] | undefined {
  if (config.command === '') return undefined;
  let words: unknown;
  try {
    words = JSON.parse(config.command);
  } catch (err) {
    throw new ConfigError('command', 'must be a JSON array of strings', { cause: err });
  }
  if (!Array.isArray(words) || words.some((word) => typeof word !== 'string'))
    throw new ConfigError('command', 'must be a JSON array of strings');
  const [program, ...rest] = words as string[];
  if (program === undefined || program === '') throw new ConfigError('command', 'must name a program');
  return [program, ...rest];
}

function flagsOf(argv: readonly string[]): Record<string, unknown> {
  const types = UNIT_SCHEMA.properties as Record<string, { type: string }>;
  const kebab = (setting: string): string => setting.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
  const settings = Object.keys(types);
  const options = Object.fromEntries(settings.map((setting) => [kebab(setting), { type: 'string' as const }]));
  let values: Record<string, unknown>;
  try {
    ({ values } = parseArgs({ args: [...argv], options, strict: true }));
  } catch (err) {
    throw new ConfigError('command line', err instanceof Error ? err.message : 'cannot be read', { cause: err });
  }
  const flags: Record<string, unknown> = {};
  for (const setting of settings) {
    const value = values[kebab(setting)];
    if (typeof value === 'string') flags[setting] = convert(types[setting]?.type ?? 'string', value);
  }
  return flags;
}

function convert(type: string, value: string): unknown {
  if (type === 'integer') return value.trim() === '' ? value : Number(value);
  if (type === 'boolean' && (value === 'true' || value === 'false')) return value === 'true';
  return value;
}
