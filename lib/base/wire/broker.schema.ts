// SPDX-License-Identifier: Apache-2.0
// JSON Schemas of every body that the internal port takes. Unknown members are refused: a typo must not be a silent default.
import { LEASE_BATCH_MAX, LEASE_WAIT_MAX_SECONDS, RESULT_INLINE_LIMIT_BYTES } from './broker.ts';

/** Most leases named in one call: a unit holds at most 256 requests (scaling.concurrency). */
export const HELD_MAX = 256;
/** Most copies of a handler on one unit (spec.worker.instances). */
const INSTANCES_MAX = 64;
/** Longest message of a cause, in characters; the queue keeps 2 KiB. */
export const MESSAGE_MAX = 2048;
/** Largest result: what one PUT to an S3 store may carry. */
const RESULT_MAX_BYTES = 5 * 1024 ** 3;
/** Longest execution that can be reported: 30 days, far above timeoutSeconds' maximum of one. */
const SERVICE_MAX_MICROS = 30 * 86_400 * 1e6;

const id = {
  type: 'string',
  pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$',
} as const;
const leaseToken = { type: 'string', pattern: '^[1-9][0-9]{0,9}\\.[0-9a-f]{16}$' } as const;
/** A media type with parameters, printable ASCII only: it becomes a response header. */
const contentType = {
  type: 'string',
  maxLength: 255,
  pattern: '^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+[ -~]*$',
} as const;
const held = { id, lease_token: leaseToken } as const;

const heldItem = {
  type: 'object',
  additionalProperties: false,
  required: ['id', 'lease_token'],
  properties: held,
} as const;

const heldList = {
  type: 'object',
  additionalProperties: false,
  required: ['leases'],
  properties: { leases: { type: 'array', minItems: 1, maxItems: HELD_MAX, items: heldItem } },
} as const;

const result = {
  type: 'object',
  additionalProperties: false,
  required: ['content_type', 'bytes'],
  properties: {
    content_type: contentType,
    content_encoding: { type: 'string', enum: ['gzip'] },
    bytes: { type: 'integer', minimum: 0, maximum: RESULT_MAX_BYTES },
    inline: {
      type: 'string',
      maxLength: Math.ceil(RESULT_INLINE_LIMIT_BYTES / 3) * 4,
      pattern: '^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$',
    },
    name: { type: 'string', minLength: 1, maxLength: 512, pattern: '^[A-Za-z0-9._/-]+$' },
  },
} as const;

const cause = {
  type: 'object',
  additionalProperties: false,
  required: ['kind', 'message'],
  properties: {
    kind: { enum: ['handler', 'input', 'timeout'] },
    message: { type: 'string', maxLength: MESSAGE_MAX },
  },
} as const;

const capability = {
  type: 'object',
  additionalProperties: false,
  required: ['archetype', 'instances', 'concurrency'],
  properties: {
    archetype: { enum: ['Handler', 'Sidecar'] },
    instances: { type: 'integer', minimum: 1, maximum: INSTANCES_MAX },
    concurrency: { type: 'integer', minimum: 1, maximum: HELD_MAX },
  },
} as const;

export const BROKER_SCHEMAS = {
  token: { type: 'object', additionalProperties: false, properties: {} },
  lease: {
    type: 'object',
    additionalProperties: false,
    required: ['max', 'wait_seconds'],
    properties: {
      max: { type: 'integer', minimum: 0, maximum: LEASE_BATCH_MAX },
      wait_seconds: { type: 'number', minimum: 0, maximum: LEASE_WAIT_MAX_SECONDS },
      lanes: { type: 'array', minItems: 1, maxItems: 2, uniqueItems: true, items: { enum: ['online', 'batch'] } },
      capability,
      held: { type: 'integer', minimum: 0, maximum: HELD_MAX },
    },
  },
  extend: heldList,
  release: heldList,
  complete: {
    type: 'object',
    additionalProperties: false,
    required: ['results'],
    properties: {
      results: {
        type: 'array',
        minItems: 1,
        maxItems: LEASE_BATCH_MAX,
        items: {
          type: 'object',
          additionalProperties: false,
          required: ['id', 'lease_token', 'result', 'service_micros'],
          properties: { ...held, result, service_micros: { type: 'integer', minimum: 0, maximum: SERVICE_MAX_MICROS } },
        },
      },
    },
  },
  fail: {
    type: 'object',
    additionalProperties: false,
    required: ['failures'],
    properties: {
      failures: {
        type: 'array',
        minItems: 1,
        maxItems: LEASE_BATCH_MAX,
        items: {
          type: 'object',
          additionalProperties: false,
          required: ['id', 'lease_token', 'cause'],
          properties: { ...held, cause },
        },
      },
    },
  },
  'upload-url': {
    type: 'object',
    additionalProperties: false,
    required: ['id', 'lease_token', 'content_type', 'bytes'],
    properties: {
      ...held,
      content_type: contentType,
      content_encoding: { type: 'string', enum: ['gzip'] },
      bytes: { type: 'integer', minimum: 1, maximum: RESULT_MAX_BYTES },
    },
  },
} as const;
