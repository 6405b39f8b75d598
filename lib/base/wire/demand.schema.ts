// SPDX-License-Identifier: Apache-2.0
/** A Kubernetes uid (a UUID today, opaque by its API) or the uid that standalone keeps: safe in keys and paths. */
export const APP_UID_PATTERN = '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$';

/** The name of a unit, which is that of its Job and pod: a DNS label (RFC 1123 §2.1). */
export const UNIT_PATTERN = '^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$';

/** Body of POST revoke: a session, or a unit of an app. */
export const REVOKE_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  minProperties: 1,
  properties: {
    app: { type: 'string', pattern: APP_UID_PATTERN },
    unit: { type: 'string', pattern: UNIT_PATTERN },
    jti: { type: 'string', pattern: '^[A-Za-z0-9-]{1,64}$' },
  },
} as const;

/** Body of POST units/{unit}/retire. */
export const RETIRE_SCHEMA = {
  type: 'object',
  additionalProperties: false,
  required: ['app'],
  properties: { app: { type: 'string', pattern: APP_UID_PATTERN } },
} as const;
