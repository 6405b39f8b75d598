// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import type { ErrorObject, JSONSchemaType } from 'ajv';
import { parse } from 'yaml';
import { isObject } from './json.ts';

/** A setting that is wrong. `path` names it, `source` says where it came from. */
export class ConfigError extends Error {
  readonly path: string;

  constructor(path: string, message: string, options?: ErrorOptions) {
    super(`configuration: ${path}: ${message}`, options);
    this.name = 'ConfigError';
    this.path = path;
  }
}

/** Flat JSON Schema of a process's settings: one property per setting, scalar, with `default` and `description`. */
export type ConfigSchema<T> = JSONSchemaType<T>;

export interface ConfigSources {
  /** YAML file with the settings; a missing `file` means none. */
  readonly file?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Settings from the command line; they win over both. */
  readonly flags?: Readonly<Record<string, unknown>>;
}

/** `redisUrl` → `PENSTOCK_REDIS_URL`. */
export function envName(setting: string): string {
  return `PENSTOCK_${setting.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()}`;
}

/**
 * The one configuration loader: defaults < YAML file < PENSTOCK_* < flags, then checked against the schema.
 * Unknown keys in the file are refused; unknown PENSTOCK_* variables are not ours to judge (other processes share the environment).
 * @throws ConfigError naming the setting
 */
export function loadConfig<T>(schema: ConfigSchema<T>, sources: ConfigSources): T {
  const properties = (schema as { properties: Record<string, { type: string }> }).properties;
  const merged: Record<string, unknown> = { ...readFile(sources.file) };
  for (const [setting, { type }] of Object.entries(properties)) {
    const text = sources.env[envName(setting)];
    if (text !== undefined) merged[setting] = fromText(setting, type, text);
  }
  for (const [setting, value] of Object.entries(sources.flags ?? {})) {
    if (value !== undefined) merged[setting] = value;
  }
  const validate = new Ajv({ allErrors: true, useDefaults: true, strict: false }).compile(schema);
  if (validate(merged)) return merged;
  // A misspelt key comes first: it explains why another one is missing.
  const errors = validate.errors ?? [];
  const first = errors.find(({ keyword }) => keyword === 'additionalProperties') ?? errors[0];
  throw toConfigError(first, Object.keys(properties));
}

function readFile(file: string | undefined): Record<string, unknown> {
  if (file === undefined) return {};
  let document: unknown;
  try {
    document = parse(readFileSync(file, 'utf8'));
  } catch (err) {
    throw new ConfigError(file, 'cannot be read as YAML', { cause: err });
  }
  if (document === null || document === undefined) return {};
  if (!isObject(document)) throw new ConfigError(file, 'must be a mapping of settings');
  return document;
}

function fromText(setting: string, type: string, text: string): unknown {
  if (type === 'boolean') {
    if (text === 'true' || text === 'false') return text === 'true';
    throw new ConfigError(setting, `${envName(setting)} must be true or false`);
  }
  if (type === 'integer' || type === 'number') {
    const value = Number(text);
    if (text.trim() === '' || !Number.isFinite(value))
      throw new ConfigError(setting, `${envName(setting)} must be a number`);
    return value;
  }
  return text;
}

function toConfigError(error: ErrorObject | undefined, known: readonly string[]): ConfigError {
  if (error?.keyword === 'additionalProperties') {
    const { additionalProperty } = error.params as { additionalProperty: string };
    return new ConfigError(additionalProperty, `unknown setting; known are ${known.join(', ')}`);
  }
  if (error?.keyword === 'required') {
    const { missingProperty } = error.params as { missingProperty: string };
    return new ConfigError(missingProperty, `is required; set it in the file or by ${envName(missingProperty)}`);
  }
  if (error?.keyword === 'enum') {
    const { allowedValues } = error.params as { allowedValues: readonly unknown[] };
    return new ConfigError(error.instancePath.slice(1), `must be one of ${allowedValues.join(', ')}`);
  }
  return new ConfigError(error?.instancePath.slice(1) || 'document', error?.message ?? 'is not valid');
}
