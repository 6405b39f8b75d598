// SPDX-License-Identifier: Apache-2.0
import { isUtf8 } from 'node:buffer';
import { isObject } from '#base/json.ts';
import type { AdmissionRequest, GroupVersionKind, UserInfo } from '../admission/types.ts';
import { webhookError } from '../errors.ts';
import { jsonContainers } from './json-shape.ts';
import { CONTAINER_COST_BYTES, MAX_JSON_CONTAINERS, MAX_JSON_DEPTH, MAX_UID_CHARS, PARSED_BYTES } from './limits.ts';

const API_VERSION = 'admission.k8s.io/v1';
const KIND = 'AdmissionReview';
const OPERATIONS: ReadonlySet<unknown> = new Set(['CREATE', 'UPDATE', 'DELETE', 'CONNECT']);

/** A review that can be answered, because its uid is known: understood (`bytes`: what it takes in memory, at most), or at fault. */
export type Review =
  | { readonly uid: string; readonly request: AdmissionRequest; readonly bytes: number }
  | { readonly uid: string; readonly fault: string };

type Raw = Readonly<Record<string, unknown>>;

/**
 * Parses the body of a call. As in the API server's own decoder the last of several members of one name counts, and members that nobody
 * knows are passed over.
 * @throws WebhookError `malformed` when it is no AdmissionReview v1 with a uid to answer to
 */
export function readReview(body: Buffer): Review {
  const { value: review, bytes } = parse(body);
  if (!isObject(review)) throw webhookError('malformed', `the body must be a JSON object, an ${KIND}`);
  if (review['kind'] !== KIND || review['apiVersion'] !== API_VERSION) {
    throw webhookError(
      'malformed',
      `the body must be an ${KIND} of ${API_VERSION}: the only version that is spoken here`,
    );
  }
  const request = review['request'];
  if (!isObject(request)) throw webhookError('malformed', 'request: must be an object');
  const uid = request['uid'];
  if (typeof uid !== 'string' || uid === '' || uid.length > MAX_UID_CHARS) {
    throw webhookError('malformed', `request.uid: must be a string of 1 to ${MAX_UID_CHARS} characters`);
  }
  const fault = faultOf(request);
  return fault === undefined ? { uid, request: toRequest(uid, request), bytes } : { uid, fault };
}

function parse(body: Buffer): { readonly value: unknown; readonly bytes: number } {
  if (body.length === 0) throw webhookError('malformed', `the body is empty: an ${KIND} is expected`);
  if (!isUtf8(body)) throw webhookError('malformed', 'the body is not UTF-8');
  const bytes = parsedBytes(body);
  try {
    return { value: JSON.parse(body.toString('utf8')), bytes };
  } catch (err) {
    // The parser's own words quote the body.
    throw webhookError('malformed', 'the body is not JSON', err);
  }
}

/** Looked over before it is parsed: afterwards it is there. */
function parsedBytes(body: Buffer): number {
  const found = jsonContainers(body, { depth: MAX_JSON_DEPTH, containers: MAX_JSON_CONTAINERS });
  if (found === 'depth') throw webhookError('malformed', `the body is nested deeper than ${MAX_JSON_DEPTH} levels`);
  if (found === 'containers') {
    throw webhookError('malformed', `the body has more than ${MAX_JSON_CONTAINERS} objects and arrays`);
  }
  return body.length * PARSED_BYTES + found * CONTAINER_COST_BYTES;
}

/** What of a request is not as admission.k8s.io/v1 has it, in a sentence. */
function faultOf(request: Raw): string | undefined {
  const { operation, object, oldObject, dryRun } = request;
  if (!OPERATIONS.has(operation)) return 'request.operation: must be CREATE, UPDATE, DELETE or CONNECT';
  if (!isKind(request['kind'])) return 'request.kind: must have a version and a kind';
  if (!isResource(request['resource'])) return 'request.resource: must have a version and a resource';
  for (const field of ['subResource', 'name', 'namespace']) {
    if (!isOptionalString(request[field])) return `request.${field}: must be a string`;
  }
  if (!isOptionalBoolean(dryRun)) return 'request.dryRun: must be true or false';
  if (!isUserInfo(request['userInfo'])) return 'request.userInfo: must have a username and groups of text';
  if (!isOptionalObject(oldObject)) return 'request.oldObject: must be an object';
  if (!isOptionalObject(object)) return 'request.object: must be an object';
  const needed = operation === 'CREATE' || operation === 'UPDATE';
  return needed && !isObject(object) ? `request.object: is required on ${operation}` : undefined;
}

function isKind(value: unknown): boolean {
  return (
    isObject(value) &&
    isOptionalString(value['group']) &&
    typeof value['version'] === 'string' &&
    typeof value['kind'] === 'string'
  );
}

function isResource(value: unknown): boolean {
  return (
    isObject(value) &&
    isOptionalString(value['group']) &&
    typeof value['version'] === 'string' &&
    typeof value['resource'] === 'string'
  );
}

function isUserInfo(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  if (!isObject(value)) return false;
  const { username, uid, groups, extra } = value;
  if (!isOptionalString(username) || !isOptionalString(uid) || !isOptionalStrings(groups)) return false;
  return isOptionalObject(extra) && Object.values(extra ?? {}).every(isOptionalStrings);
}

function isOptionalStrings(value: unknown): boolean {
  if (value === undefined || value === null) return true;
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function isOptionalString(value: unknown): boolean {
  return value === undefined || value === null || typeof value === 'string';
}

function isOptionalBoolean(value: unknown): boolean {
  return value === undefined || value === null || typeof value === 'boolean';
}

function isOptionalObject(value: unknown): boolean {
  return value === undefined || value === null || isObject(value);
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/** The checked request in the handlers' shape: what is null or '' on the wire is absent. */
function toRequest(uid: string, raw: Raw): AdmissionRequest {
  const request: Mutable<AdmissionRequest> = {
    uid,
    kind: withGroup(raw['kind'] as GroupVersionKind),
    resource: withGroup(raw['resource'] as AdmissionRequest['resource']),
    operation: raw['operation'] as AdmissionRequest['operation'],
    userInfo: toUserInfo((raw['userInfo'] ?? {}) as Raw),
    dryRun: raw['dryRun'] === true,
  };
  const { subResource, name, namespace, object, oldObject } = raw;
  if (subResource) request.subResource = subResource as string;
  if (name) request.name = name as string;
  if (namespace) request.namespace = namespace as string;
  if (object) request.object = object as Raw;
  if (oldObject) request.oldObject = oldObject as Raw;
  return request;
}

/** What is null, as Go's encoder has it for what was never made, is absent. A key of extra without values stays: somebody may go by it. */
function toUserInfo(raw: Raw): UserInfo {
  const { username, uid, groups, extra } = raw as { [K in keyof UserInfo]: UserInfo[K] | null };
  const user: Mutable<UserInfo> = {};
  if (typeof username === 'string') user.username = username;
  if (typeof uid === 'string') user.uid = uid;
  if (groups) user.groups = groups;
  if (extra) user.extra = Object.fromEntries(Object.entries(extra).map(([key, values]) => [key, values ?? []]));
  return user;
}

function withGroup<T extends { readonly group: string }>(value: T): T {
  return typeof value.group === 'string' ? value : { ...value, group: '' };
}
