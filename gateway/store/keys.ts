// SPDX-License-Identifier: Apache-2.0
import { APP_UID_PATTERN } from '#base/wire/demand.schema.ts';
import { storeError } from './errors.ts';

/** First segment of every key. A layout that reads differently gets another one. */
export const LAYOUT_VERSION = 1;
/** What the keys of all apps start with. */
export const ALL_KEYS = `v${LAYOUT_VERSION}/`;
/**
 * What recovery keeps beside the objects of apps: how far each app's queue had come, and which process held it. Outside of ALL_KEYS, so
 * that walks over what belongs to requests never meet it.
 */
const MIRROR_PREFIX = 'mirror/v1/';
/** Where the generations of all apps lie. */
export const MIRRORED_APPS = `${MIRROR_PREFIX}apps/`;
/** Run identity of the queue that a gateway knew last. */
export const MIRRORED_RUN_KEY = `${MIRROR_PREFIX}run.json`;
/** Name of the object that says which layout a store has; not a key that anyone may use. */
export const LAYOUT_KEY = 'layout.json';

/** Below the 1 024 bytes of S3, with room for a deployment's own prefix. */
const KEY_MAX = 512;
/** A segment is a file name in the local driver: below the 255 bytes of Linux, with room for a suffix. */
const SEGMENT = /^[A-Za-z0-9._-]{1,200}$/;

const APP_UID = new RegExp(APP_UID_PATTERN);
/** UUIDv7 (RFC 9562 §5.7) in lower case. */
const REQUEST_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
/** 64 random bits in hex. */
const NONCE = /^[0-9a-f]{16}$/;
const PLACE = new RegExp(`^${ALL_KEYS}([^/]+)/(bodies|results)/([^/]+)(?:/([1-9][0-9]{0,15})\\.[0-9a-f]{16})?$`);

/** The key of a request's body: v1/<uid>/bodies/<id>. */
export function bodyKey(app: string, id: string): string {
  return `${appPrefix(app)}bodies/${part('request id', id, REQUEST_ID)}`;
}

/** The key of one attempt's result, named by its lease token: v1/<uid>/results/<id>/<epoch>.<nonce>. */
export function resultKey(app: string, id: string, token: { readonly epoch: number; readonly nonce: string }): string {
  if (!Number.isSafeInteger(token.epoch) || token.epoch < 1) {
    throw storeError('bad-key', `epoch ${token.epoch} is not a positive integer`, { field: 'epoch' });
  }
  const attempt = `${token.epoch}.${part('nonce', token.nonce, NONCE)}`;
  return `${resultsPrefix(app)}${part('request id', id, REQUEST_ID)}/${attempt}`;
}

/** What the keys of all results of an app start with; the id of the request comes next. */
export function resultsPrefix(app: string): string {
  return `${appPrefix(app)}results/`;
}

/** The key of an app's mirrored generation. */
export function generationKey(app: string): string {
  return `${MIRRORED_APPS}${part('app uid', app, APP_UID)}.json`;
}

/** The way back from `generationKey`; undefined for any other key. */
export function mirroredApp(key: string): string | undefined {
  const uid = /^mirror\/v1\/apps\/([^/]+)\.json$/.exec(key)?.[1];
  return uid !== undefined && APP_UID.test(uid) ? uid : undefined;
}

/** What every object of an app starts with. */
export function appPrefix(app: string): string {
  return `${ALL_KEYS}${part('app uid', app, APP_UID)}/`;
}

/** What a key stands for. */
export interface ObjectPlace {
  readonly app: string;
  /** Of the request. */
  readonly id: string;
  /** Of the attempt; absent for a body. */
  readonly epoch?: number;
}

/** The way back from `bodyKey` and `resultKey`; undefined for any other key. */
export function parseKey(key: string): ObjectPlace | undefined {
  const [, app = '', kind, id = '', epoch] = PLACE.exec(key) ?? [];
  if (!APP_UID.test(app) || !REQUEST_ID.test(id) || (kind === 'bodies') !== (epoch === undefined)) return undefined;
  return epoch === undefined ? { app, id } : { app, id, epoch: Number(epoch) };
}

/** @throws StoreError `bad-key` unless the key has safe segments only: no escape from the store is left to any driver. */
export function checkKey(key: string): string {
  const why = keyProblem(key);
  if (why !== undefined) throw storeError('bad-key', why, { field: 'key' });
  return key;
}

/** A prefix may end anywhere inside a key, also at a slash or before the first character. */
export function checkPrefix(prefix: string): string {
  if (prefix !== '') checkKey(/[/.]$/.test(prefix) ? `${prefix}x` : prefix);
  return prefix;
}

function keyProblem(key: string): string | undefined {
  if (key.length === 0 || key.length > KEY_MAX) return `an object key has 1 to ${KEY_MAX} characters`;
  if (key === LAYOUT_KEY) return `${LAYOUT_KEY} is the store's own`;
  const bad = key.split('/').find((segment) => !SEGMENT.test(segment) || segment === '.' || segment === '..');
  if (bad === undefined) return undefined;
  return `an object key has segments of 1 to 200 of A-Z a-z 0-9 . _ - between slashes, none of them . or .., not ${JSON.stringify(bad.slice(0, 40))}`;
}

function part(name: string, value: string, pattern: RegExp): string {
  if (pattern.test(value)) return value;
  throw storeError('bad-key', `${name} ${JSON.stringify(value.slice(0, 80))} does not match ${pattern.source}`, {
    field: name,
  });
}
