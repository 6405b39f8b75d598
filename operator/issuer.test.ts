// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { PrivateJwk } from '#base/issuer.ts';
import { rotate, signingKey } from './issuer.ts';
import type { StoredKey } from './issuer.ts';

const MINUTE = 60_000;
const DAY = 24 * 60 * MINUTE;
const NOW = Date.parse('2026-11-21T12:00:00Z');

const aKey = (kid: string, ageMs: number): StoredKey => ({
  jwk: { kty: 'OKP', kid },
  createdAt: NOW - ageMs,
});
const fresh = async (): Promise<PrivateJwk> => ({ kty: 'OKP', kid: 'fresh' });
const kids = (keys: readonly StoredKey[]): string[] => keys.map((key) => key.jwk.kid);

describe('rotate', () => {
  it.each([
    ['makes the first key', [], ['fresh']],
    ['keeps a young key', [aKey('a', DAY)], ['a']],
    ['adds a second key after 30 days', [aKey('a', 30 * DAY)], ['a', 'fresh']],
    ['keeps the old key while its tokens may live', [aKey('a', 37 * DAY), aKey('b', 7 * DAY)], ['a', 'b']],
    ['drops the old key when its last token has run out', [aKey('a', 38 * DAY), aKey('b', 8 * DAY)], ['b']],
    ['never has more than two', [aKey('a', 90 * DAY), aKey('b', 60 * DAY), aKey('c', 30 * DAY)], ['c', 'fresh']],
  ])('%s', async (_what, keys, want) => {
    expect(kids(await rotate(keys, NOW, fresh))).toEqual(want);
  });
});

describe('signingKey', () => {
  it.each([
    ['the only key, however new', [aKey('a', 0)], 'a'],
    ['the old key while the new one is not known everywhere', [aKey('a', 30 * DAY), aKey('b', 9 * MINUTE)], 'a'],
    ['the new key ten minutes after it was published', [aKey('a', 30 * DAY), aKey('b', 10 * MINUTE)], 'b'],
  ])('is %s', (_what, keys, want) => {
    expect(signingKey(keys, NOW).jwk.kid).toBe(want);
  });

  it('refuses a Secret without keys', () => {
    expect(() => signingKey([], NOW)).toThrow(/holds no key/);
  });
});
