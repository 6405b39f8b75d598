// SPDX-License-Identifier: Apache-2.0
import { hash, timingSafeEqual } from 'node:crypto';
import { prefixOf } from '#base/api-key.ts';
import type { ApiKeyEntry } from '#base/tenants.ts';
import type { Policy } from './policy.ts';
import type { Tenant } from './tenants.ts';

/** An API key as the gateway holds it. */
export interface HeldKey {
  readonly tenant: Tenant;
  /** Unix ms; Infinity = never. */
  readonly expiresAt: number;
  readonly digest: Uint8Array;
}

export interface KeyRing {
  readonly size: number;
  /** The entry of a key, expired or not; undefined for any other text. */
  find(key: string): HeldKey | undefined;
}

/** Digits of a digest by which an entry without a prefix is found; the whole digest decides. */
const HEAD_CHARS = 16;
/** Compared with when there is no entry, so that the work is the same. */
const NOBODYS = Buffer.alloc(32);

export function createKeyRing(
  entries: Iterable<{ readonly policy: Policy; readonly keys: readonly ApiKeyEntry[] }>,
): KeyRing {
  const byPrefix = new Map<string, HeldKey>();
  const byHead = new Map<string, HeldKey>();
  for (const { policy, keys } of entries) {
    for (const { sha256, prefix, role = 'client', expiresAt } of keys) {
      const held = {
        // Prefix, or the first digits of the digest: what a log may say.
        tenant: { ...policy, role, subject: `key ${prefix ?? `sha256:${sha256.slice(0, 8)}`}` },
        expiresAt: expiresAt === undefined ? Infinity : Date.parse(expiresAt),
        digest: Buffer.from(sha256, 'hex'),
      };
      if (prefix === undefined) byHead.set(sha256.slice(0, HEAD_CHARS), held);
      else byPrefix.set(prefix, held);
    }
  }
  return {
    size: byPrefix.size + byHead.size,
    find: (key) => {
      // By way of text: a digest in a buffer of its own takes OpenSSL's binding three times as long.
      const digest = Buffer.from(hash('sha256', key, 'hex'), 'hex');
      const prefix = prefixOf(key);
      const byName = prefix === undefined ? undefined : byPrefix.get(prefix);
      // What a digest begins with cannot be steered by whoever guesses keys, so this look-up tells nothing.
      const held = byName ?? byHead.get(digest.toString('hex', 0, HEAD_CHARS / 2));
      const equal = timingSafeEqual(digest, held?.digest ?? NOBODYS);
      return equal ? held : undefined;
    },
  };
}
