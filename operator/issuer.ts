// SPDX-License-Identifier: Apache-2.0
import { FIELD_MANAGER } from '#crds/names.ts';
import type { Clock } from '#base/clock.ts';
import { createSigner, generateIssuerKey, publicJwks } from '#base/issuer.ts';
import type { PrivateJwk, Signer } from '#base/issuer.ts';
import { isObject } from '#base/json.ts';
import type { Logger } from '#base/logger.ts';
import { ISSUER_CONFIGMAP, ISSUER_KEY, UNIT_TOKEN_SECONDS } from '#base/wire/claims.ts';
import { find } from '#kube/apply.ts';
import type { KubeClient } from '#kube/client.ts';
import { isAlreadyExists, isConflict } from '#kube/errors.ts';
import { CONFIG_MAPS, SECRETS } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { operatorError } from './errors.ts';

/** Secret with the private keys, in the operator's namespace; key `keys.json`. */
export const ISSUER_SECRET = 'penstock-issuer-keys';
const KEYS_KEY = 'keys.json';

const DAY_MS = 24 * 3600 * 1000;
/** A key signs for this long. Must be well above the life of a unit token, or two keys would not be enough. */
const ROTATE_AFTER_MS = 30 * DAY_MS;
/** A new key is published this long before it signs: every gateway has seen it by then. */
const ACTIVATE_AFTER_MS = 10 * 60 * 1000;
/** The old key stays until the last token that it signed has run out. */
const RETIRE_AFTER_MS = UNIT_TOKEN_SECONDS * 1000 + DAY_MS;
/** Between two looks at rotation and at what is published. */
const CHECK_EVERY_MS = 60_000;

export interface StoredKey {
  readonly jwk: PrivateJwk;
  /** Unix ms. */
  readonly createdAt: number;
}

interface KeySecret extends KubeObject {
  readonly data?: Record<string, string>;
}

interface PublishedKeys extends KubeObject {
  readonly data?: Record<string, string>;
}

export interface IssuerOptions {
  readonly client: KubeClient;
  /** The operator's own namespace. */
  readonly namespace: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface Issuer {
  /** Signs with the key that is current now. Makes and publishes the first one when there is none. */
  signer(): Promise<Signer>;
  /** Rotates and publishes until the signal aborts. Only the leader runs it. */
  run(signal: AbortSignal): Promise<void>;
}

export function createIssuer(options: IssuerOptions): Issuer {
  const { clock, logger } = options;
  let keys: Promise<readonly StoredKey[]> | undefined;
  const signers = new Map<string, Promise<Signer>>();

  const load = (): Promise<readonly StoredKey[]> => {
    keys ??= maintain(options).catch((err: unknown) => {
      keys = undefined;
      throw err;
    });
    return keys;
  };
  return {
    signer: async () => {
      const { jwk } = signingKey(await load(), clock.now());
      const signer = signers.get(jwk.kid) ?? createSigner(jwk, clock);
      signers.set(jwk.kid, signer);
      return signer;
    },
    run: async (signal) => {
      while (!signal.aborted) {
        keys = undefined;
        await load().catch((err: unknown) => logger.warn({ err }, 'issuer keys could not be kept up, trying again'));
        await clock.sleep(CHECK_EVERY_MS, signal).catch(() => {});
      }
    },
  };
}

/** Newest key that has been published for long enough; the oldest when there is none such (the very first key). */
export function signingKey(keys: readonly StoredKey[], now: number): StoredKey {
  const ready = keys.filter((key) => now - key.createdAt >= ACTIVATE_AFTER_MS);
  const chosen = ready.toSorted((a, b) => b.createdAt - a.createdAt)[0] ?? keys[0];
  if (chosen === undefined) throw operatorError('issuer-malformed', `Secret ${ISSUER_SECRET} holds no key`);
  return chosen;
}

/** The keys as they should be now, oldest first; `fresh` is called when one is missing. At most two at any time. */
export async function rotate(
  keys: readonly StoredKey[],
  now: number,
  fresh: () => Promise<PrivateJwk>,
): Promise<readonly StoredKey[]> {
  const newest = keys.at(-1);
  if (newest === undefined) return [{ jwk: await fresh(), createdAt: now }];
  const kept = now - newest.createdAt >= RETIRE_AFTER_MS ? [newest] : keys.slice(-2);
  if (now - newest.createdAt < ROTATE_AFTER_MS) return kept;
  return [newest, { jwk: await fresh(), createdAt: now }];
}

/** Brings Secret and ConfigMap up to date; answers the keys. Another leader's write in between is read again, not overwritten. */
async function maintain(options: IssuerOptions): Promise<readonly StoredKey[]> {
  for (;;) {
    const secret = await find<KeySecret>(options.client, SECRETS, {
      namespace: options.namespace,
      name: ISSUER_SECRET,
    });
    const stored = secret === undefined ? [] : parseKeys(secret);
    const keys = await rotate(stored, options.clock.now(), generateIssuerKey);
    const changed = keys.length !== stored.length || keys.some((key, index) => key.jwk.kid !== stored[index]?.jwk.kid);
    try {
      if (changed) await store(options, secret, keys);
    } catch (err) {
      if (isAlreadyExists(err) || isConflict(err)) continue;
      throw err;
    }
    if (changed) options.logger.info({ kids: keys.map((key) => key.jwk.kid) }, 'issuer keys changed');
    await publish(options, keys);
    return keys;
  }
}

async function store(options: IssuerOptions, before: KeySecret | undefined, keys: readonly StoredKey[]): Promise<void> {
  const data = { [KEYS_KEY]: Buffer.from(JSON.stringify(keys)).toString('base64') };
  const metadata = { name: ISSUER_SECRET, namespace: options.namespace };
  const write = { fieldManager: FIELD_MANAGER };
  if (before === undefined) await options.client.create<KeySecret>(SECRETS, { metadata, data }, write);
  // With the resourceVersion that was read: a stale write is refused.
  else await options.client.replace<KeySecret>(SECRETS, { ...before, data }, write);
}

async function publish({ client, namespace }: IssuerOptions, keys: readonly StoredKey[]): Promise<void> {
  const text = JSON.stringify(publicJwks(keys.map((key) => key.jwk)));
  const ref = { namespace, name: ISSUER_CONFIGMAP };
  const published = await find<PublishedKeys>(client, CONFIG_MAPS, ref);
  if (published?.data?.[ISSUER_KEY] === text) return;
  const object: PublishedKeys = { metadata: ref, data: { [ISSUER_KEY]: text } };
  await client.apply<PublishedKeys>(CONFIG_MAPS, object, { fieldManager: FIELD_MANAGER });
}

function parseKeys(secret: KeySecret): readonly StoredKey[] {
  try {
    const parsed: unknown = JSON.parse(Buffer.from(secret.data?.[KEYS_KEY] ?? '', 'base64').toString());
    if (Array.isArray(parsed) && parsed.every(isStoredKey)) return parsed;
  } catch (err) {
    throw malformed(err);
  }
  throw malformed();
}

/** Not overwritten: units and gateways still trust what is in it, and a person may want to mend it. */
function malformed(cause?: unknown): Error {
  const fix = `delete Secret ${ISSUER_SECRET} to start with a new key (running units are then refused and replaced)`;
  return operatorError('issuer-malformed', `Secret ${ISSUER_SECRET} is no list of keys; ${fix}`, cause);
}

function isStoredKey(value: unknown): value is StoredKey {
  if (!isObject(value) || !isObject(value['jwk']) || typeof value['createdAt'] !== 'number') return false;
  const { kid, d, x } = value['jwk'];
  return typeof kid === 'string' && typeof d === 'string' && typeof x === 'string';
}
