// SPDX-License-Identifier: Apache-2.0
import { Ajv } from 'ajv';
import type { ErrorObject, JSONSchemaType } from 'ajv';
import { parse } from 'yaml';
import { isObject } from './json.ts';
import { TENANTS_SCHEMA } from './tenants.schema.ts';
import { yamlLine } from './yaml-line.ts';

export const ROLES = ['client', 'operator', 'admin'] as const;
/** `client`: submits, reads and cancels what is its own; `operator`: also lists the tenant's dead letters; `admin`: also redrives and purges. */
export type Role = (typeof ROLES)[number];

export interface RequestRate {
  /** Sustained. */
  readonly perSecond: number;
  /** At once, after a pause. */
  readonly burst: number;
}

export interface AppCaps {
  /** Leases held of one app at once; absent = no bound. */
  readonly maxInFlight?: number;
  /** Requests queued in one app; absent = no bound. */
  readonly maxQueued?: number;
}

/** Most that one app of the tenant's namespace may ask for; absent = no bound. Held by the admission server. */
export interface AppCeilings {
  /** `spec.scaling.maxUnits`. */
  readonly maxUnits?: number;
  /** `spec.resources.gpu.count`. */
  readonly gpusPerUnit?: number;
  /** GPUs, or instances of MIG, of all of its units; a shared one counts whole. */
  readonly gpus?: number;
}

/** What applies to a tenant, in each app that it may call. */
export interface TenantPolicy extends AppCaps {
  /** Of the apps in its namespace. */
  readonly ceilings?: AppCeilings;
  /** 1 … 1 000, default 1. */
  readonly weight?: number;
  /** Highest `Penstock-Priority` that it may ask for; default 0. */
  readonly priorityCeiling?: number;
  /** Absent = no bound. */
  readonly requestRate?: RequestRate;
}

export interface ApiKeyEntry {
  /** Hex SHA-256 of the whole key: the key itself is nowhere. */
  readonly sha256: string;
  /** `psk_` and eight characters, for logs and people; absent for a key that was not made by `penstock keys new`. */
  readonly prefix?: string;
  readonly role?: Role;
  /** RFC 3339; from then on the key is refused. */
  readonly expiresAt?: string;
  /** For people. */
  readonly name?: string;
}

export interface ServiceAccountEntry {
  readonly namespace: string;
  readonly name: string;
  readonly role?: Role;
}

export interface TenantEntry extends TenantPolicy {
  readonly name: string;
  /** Default: its name in a cluster, `default` in standalone. */
  readonly namespace?: string;
  /** `name` and `*` in the tenant's namespace, `namespace.name` and `namespace.*` anywhere; default: all of its namespace, none with `[]`. */
  readonly apps?: readonly string[];
  /** By `name` in the tenant's namespace, or `namespace.name`; each bound given here replaces the tenant's. */
  readonly appLimits?: Readonly<Record<string, AppCaps>>;
  readonly apiKeys?: readonly ApiKeyEntry[];
  readonly serviceAccounts?: readonly ServiceAccountEntry[];
}

/** tenants.yaml. */
export interface TenantsDocument {
  readonly tenants: readonly TenantEntry[];
  /** For tenants without an entry: the namespaces of ServiceAccounts, and work of tenants that left. */
  readonly default?: TenantPolicy;
}

/** The document does not fit; the message names field and fix. */
export class TenantsError extends Error {
  /** `tenants[0].apiKeys[1].sha256` */
  readonly field: string;
  readonly problem: string;
  readonly fix: string;

  constructor(field: string, problem: string, fix: string, options?: ErrorOptions) {
    super(`tenants: ${field}: ${problem}; ${fix}`, options);
    this.name = 'TenantsError';
    this.field = field;
    this.problem = problem;
    this.fix = fix;
  }
}

const validate = new Ajv({ strict: true, strictTypes: false, verbose: true }).compile(
  TENANTS_SCHEMA as unknown as JSONSchemaType<TenantsDocument>,
);

/**
 * Reads the text of tenants.yaml; undefined when there is no document in it (empty, comments only).
 * @throws TenantsError
 */
export function readTenants(text: string): TenantsDocument | undefined {
  let value: unknown;
  try {
    value = parse(text, { prettyErrors: false });
  } catch (cause) {
    // Without an excerpt: whoever pasted a key into the document would find it in the log.
    const fix = `mend ${yamlLine(text, cause)}: a mapping with tenants, a list`;
    throw new TenantsError('document', 'is no YAML', fix, { cause });
  }
  return value === null || value === undefined ? undefined : parseTenantsDocument(value);
}

/**
 * Checks a document against the schema and what a schema cannot say: names, keys and accounts stand once, times exist.
 * @throws TenantsError
 */
export function parseTenantsDocument(value: unknown): TenantsDocument {
  if (!validate(value)) throw fromSchema(validate.errors?.[0]);
  const seen = { names: new Map(), keys: new Map(), prefixes: new Map(), accounts: new Map() };
  value.tenants.forEach((entry, i) => checkTenant(entry, `tenants[${i}]`, seen));
  return value;
}

interface Seen {
  readonly names: Map<string, string>;
  readonly keys: Map<string, string>;
  readonly prefixes: Map<string, string>;
  readonly accounts: Map<string, string>;
}

function checkTenant({ name, apiKeys = [], serviceAccounts = [] }: TenantEntry, at: string, seen: Seen): void {
  once(seen.names, name, `${at}.name`, `give each tenant a name of its own; ${name} is taken`);
  apiKeys.forEach(({ sha256, prefix, expiresAt }, k) => {
    const key = `${at}.apiKeys[${k}]`;
    once(seen.keys, sha256, `${key}.sha256`, 'make one key for each entry');
    if (prefix !== undefined) once(seen.prefixes, prefix, `${key}.prefix`, 'make another key');
    if (expiresAt !== undefined && Number.isNaN(Date.parse(expiresAt))) {
      throw new TenantsError(`${key}.expiresAt`, 'is no time of the calendar', 'write a date and time that exist');
    }
  });
  serviceAccounts.forEach((account, k) => {
    const fix = 'name each ServiceAccount in one tenant only';
    once(seen.accounts, `${account.namespace}/${account.name}`, `${at}.serviceAccounts[${k}]`, fix);
  });
}

function once(places: Map<string, string>, value: string, field: string, fix: string): void {
  const first = places.get(value);
  if (first !== undefined) throw new TenantsError(field, `is there twice, first in ${first}`, fix);
  places.set(value, field);
}

function fromSchema(error: ErrorObject | undefined): TenantsError {
  const at = fieldOf(error);
  const { parentSchema = {}, params = {}, keyword, message = 'is not valid' } = error ?? {};
  const described: unknown = parentSchema['description'];
  const fix = typeof described === 'string' ? described : 'see docs/operations.md';
  // A misspelt field comes first: it explains why another one is missing.
  const unknown = params['additionalProperty'] ?? unknownField(error);
  if (unknown !== undefined) {
    const known = Object.keys((parentSchema['properties'] ?? {}) as object).join(', ');
    return new TenantsError(at, `unknown field ${String(unknown)}`, `known are ${known}`);
  }
  if (keyword === 'required') {
    return new TenantsError(at, `lacks ${String(params['missingProperty'])}`, fix);
  }
  return new TenantsError(at, message, fix);
}

/** Of the mapping that lacks a field. */
function unknownField({ keyword, data, parentSchema }: Partial<ErrorObject> = {}): string | undefined {
  const { properties, additionalProperties } = parentSchema ?? {};
  if (keyword !== 'required' || additionalProperties !== false || !isObject(data)) return undefined;
  return Object.keys(data).find((name) => !Object.hasOwn((properties ?? {}) as object, name));
}

/** `/tenants/0/apiKeys` → `tenants[0].apiKeys`. */
function fieldOf(error: ErrorObject | undefined): string {
  const path = (error?.instancePath ?? '').slice(1);
  return path.replaceAll(/\/(\d+)(?=\/|$)/g, '[$1]').replaceAll('/', '.') || 'document';
}
