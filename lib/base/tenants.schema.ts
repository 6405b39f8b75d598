// SPDX-License-Identifier: Apache-2.0
// JSON Schema of tenants.yaml. Each description says what to write: it is the `fix` of an error at that place.

/** Tenants of one document: far above any fleet of teams; a ConfigMap (1 MiB) is full before. */
const MAX_TENANTS = 10_000;
/** Keys of one tenant: two for each of its programs while they rotate. */
const MAX_KEYS = 200;
const MAX_SERVICE_ACCOUNTS = 200;
const MAX_APPS = 1_000;

const LABEL = '[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?';
/** MAX_NAME_LENGTH of the CRDs. */
const APP = '[a-z0-9](?:[-a-z0-9]{0,38}[a-z0-9])?';

const integer = (minimum: number, maximum: number) => ({
  type: 'integer',
  minimum,
  maximum,
  description: `write an integer from ${minimum} to ${maximum}`,
});
const list = (items: object, maxItems: number) => ({
  type: 'array',
  maxItems,
  items,
  description: `write a list of at most ${maxItems} entries`,
});
const closed = (required: readonly string[], properties: Readonly<Record<string, object>>) => ({
  type: 'object',
  additionalProperties: false,
  required,
  properties,
  description: `write a mapping with ${Object.keys(properties).join(', ')}`,
});
const text = (pattern: string, description: string) => ({ type: 'string', pattern, description });

const label = text(`^${LABEL}$`, 'write at most 63 lower-case letters, digits and hyphens, no hyphen at either end');
const caps = { maxInFlight: integer(1, 1_000_000), maxQueued: integer(1, 10_000_000) };
const policy = {
  ceilings: closed([], { maxUnits: integer(1, 1_000), gpusPerUnit: integer(1, 16), gpus: integer(1, 16_000) }),
  weight: integer(1, 1_000),
  priorityCeiling: integer(0, 1_000),
  ...caps,
  requestRate: closed(['perSecond', 'burst'], {
    perSecond: {
      type: 'number',
      exclusiveMinimum: 0,
      maximum: 1_000_000,
      description: 'write requests per second, above 0 and at most 1000000',
    },
    burst: integer(1, 1_000_000),
  }),
};
const role = { enum: ['client', 'operator', 'admin'], description: 'write client, operator or admin' };

const tenant = closed(['name'], {
  name: label,
  namespace: label,
  ...policy,
  apps: list(
    text(
      `^(?:${LABEL}\\.)?(?:${APP}|\\*)$`,
      'write the name of an app, namespace.name, * for every app of the tenant’s namespace, or namespace.* for another one’s',
    ),
    MAX_APPS,
  ),
  appLimits: {
    type: 'object',
    maxProperties: MAX_APPS,
    propertyNames: text(`^(?:${LABEL}\\.)?${APP}$`, 'write the name of an app, or namespace.name'),
    additionalProperties: closed([], caps),
    description: 'write a mapping of app names to their limits',
  },
  apiKeys: list(
    closed(['sha256'], {
      sha256: text(
        '^[0-9a-f]{64}$',
        'write the 64 hex digits of the key’s SHA-256, as `penstock keys new` prints them',
      ),
      prefix: text('^psk_[a-z0-9]{8}$', 'write the first 12 characters of the key: psk_ and 8 letters or digits'),
      role,
      expiresAt: text(
        '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(?:\\.\\d{1,9})?(?:Z|[+-]\\d\\d:\\d\\d)$',
        'write an RFC 3339 time such as 2027-01-31T00:00:00Z',
      ),
      name: { type: 'string', minLength: 1, maxLength: 128, description: 'write 1 to 128 characters, for people' },
    }),
    MAX_KEYS,
  ),
  serviceAccounts: list(
    closed(['namespace', 'name'], {
      namespace: label,
      // RFC 1123 subdomain, as Kubernetes has it.
      name: {
        type: 'string',
        maxLength: 253,
        pattern: `^${LABEL}(?:\\.${LABEL})*$`,
        description: 'write the name of a ServiceAccount',
      },
      role,
    }),
    MAX_SERVICE_ACCOUNTS,
  ),
});

export const TENANTS_SCHEMA = closed(['tenants'], {
  tenants: list(tenant, MAX_TENANTS),
  default: closed([], policy),
});
