// SPDX-License-Identifier: Apache-2.0
import { createHmac } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createHmacSha256 } from './hmac.ts';

describe('HMAC-SHA256 by one-shot hashes', () => {
  it.each([
    // RFC 4231 §4.3
    ['Jefe', 'what do ya want for nothing?', '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843'],
  ])('answers the test vector of RFC 4231 for key %s', (key, message, mac) => {
    expect(createHmacSha256(Buffer.from(key))(Buffer.from(message))).toBe(mac);
  });

  it.each([0, 1, 32, 63, 64, 65, 200])('answers what node:crypto answers, for a key of %i bytes', (bytes) => {
    const key = Buffer.alloc(bytes, 0xa7);
    const hmac = createHmacSha256(key);
    for (const length of [0, 1, 55, 64, 1000]) {
      const message = Buffer.alloc(length, length);
      expect(hmac(message)).toBe(createHmac('sha256', key).update(message).digest('hex'));
    }
  });
});
