// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import type { Random } from './random.ts';

/** The prefix tells keys apart in logs and finds the entry; 32^8 of them. Without i, l, o and u: it gets read aloud. */
const PREFIX_ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz';
const PREFIX_CHARS = 8;
/** 256 bits: nothing to guess, so a fast digest is enough to keep it. */
const SECRET_BYTES = 32;

const KEY = /^(psk_[a-z0-9]{8})_[A-Za-z0-9_-]{43}$/;

/** `psk_<8 characters>_<43 of base64url>`, and what a tenants document holds of it. */
export interface NewApiKey {
  readonly key: string;
  readonly prefix: string;
  /** Hex. */
  readonly sha256: string;
}

/** @param random cryptographically strong */
export function newApiKey(random: Random): NewApiKey {
  // 32 characters: five bits of each byte, no bias.
  const chars = [...random.bytes(PREFIX_CHARS)].map((byte) => PREFIX_ALPHABET[byte & 31]);
  const prefix = `psk_${chars.join('')}`;
  const key = `${prefix}_${Buffer.from(random.bytes(SECRET_BYTES)).toString('base64url')}`;
  return { key, prefix, sha256: hash('sha256', key) };
}

/** The part of an API key that is no secret; undefined when it is not of our form. */
export function prefixOf(key: string): string | undefined {
  return KEY.exec(key)?.[1];
}
