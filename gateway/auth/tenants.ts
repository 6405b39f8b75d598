// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import { Ajv } from 'ajv';
import type { ErrorObject, JSONSchemaType } from 'ajv';

export interface Tenant {
  readonly name: string;
  /** The tenant may call the apps of this namespace, and no others. */
  readonly namespace: string;
}

/** Who may call. Reads are from memory. */
export interface TenantSource {
  /** The tenant of an API key. */
  byApiKey(key: string): Tenant | undefined;
  /** Whom a caller without a credential is taken for; undefined as soon as there is any API key. */
  anonymous(): Tenant | undefined;
  /** API keys known; without any the gateway stays on loopback. */
  keyCount(): number;
}

/** tenants.yaml. Only what this version acts on; the schema refuses the rest. */
export interface TenantsDocument {
  readonly tenants: readonly {
    readonly name: string;
    readonly namespace?: string;
    readonly apiKeys?: readonly { readonly sha256: string; readonly description?: string }[];
  }[];
}

const LABEL = '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$';

const SCHEMA = {
  type: 'object',
  additionalProperties: false,
  required: ['tenants'],
  properties: {
    tenants: {
      type: 'array',
      maxItems: 10_000,
      items: {
        type: 'object',
        additionalProperties: false,
        required: ['name'],
        properties: {
          name: { type: 'string', pattern: LABEL },
          namespace: { type: 'string', pattern: LABEL, nullable: true },
          apiKeys: {
            type: 'array',
            maxItems: 100,
            nullable: true,
            items: {
              type: 'object',
              additionalProperties: false,
              required: ['sha256'],
              properties: {
                sha256: { type: 'string', pattern: '^[0-9a-f]{64}$' },
                description: { type: 'string', maxLength: 256, nullable: true },
              },
            },
          },
        },
      },
    },
  },
} as unknown as JSONSchemaType<TenantsDocument>;

const validate = new Ajv({ strict: true, strictTypes: false }).compile(SCHEMA);

/** Whom requests without a credential belong to where no keys are configured: standalone on one machine. */
export const DEFAULT_TENANT: Tenant = { name: 'default', namespace: 'default' };

/**
 * @throws Error naming the field when the document does not fit the schema, or a name or key is there twice
 */
export function parseTenants(document: unknown): TenantSource {
  if (!validate(document)) throw new Error(`tenants: ${explain(validate.errors?.[0])}`);
  const byHash = new Map<string, Tenant>();
  const names = new Set<string>();
  document.tenants.forEach(({ name, namespace, apiKeys }, i) => {
    if (names.has(name)) throw new Error(`tenants: tenants[${i}].name: ${name} is there twice`);
    names.add(name);
    const tenant = { name, namespace: namespace ?? name };
    (apiKeys ?? []).forEach(({ sha256 }, k) => {
      if (byHash.has(sha256)) throw new Error(`tenants: tenants[${i}].apiKeys[${k}].sha256: is there twice`);
      byHash.set(sha256, tenant);
    });
  });
  return tenantSource(byHash);
}

/** No document: one tenant for everyone who reaches the port. */
export function openTenants(): TenantSource {
  return tenantSource(new Map());
}

function tenantSource(byHash: ReadonlyMap<string, Tenant>): TenantSource {
  return {
    // The look-up is by the key's digest: its timing tells about digests, of which nothing can be steered or undone.
    byApiKey: (key) => byHash.get(hash('sha256', key)),
    anonymous: () => (byHash.size === 0 ? DEFAULT_TENANT : undefined),
    keyCount: () => byHash.size,
  };
}

function explain(error: ErrorObject | undefined): string {
  const at =
    (error?.instancePath ?? '')
      .slice(1)
      .replaceAll(/\/(\d+)/g, '[$1]')
      .replaceAll('/', '.') || 'document';
  const extra: unknown = error?.params['additionalProperty'];
  return typeof extra === 'string' ? `${at}: unknown field ${extra}` : `${at}: ${error?.message ?? 'is not valid'}`;
}
