// SPDX-License-Identifier: Apache-2.0
import type { IncomingMessage } from 'node:http';
import { describe, expect, test } from 'vitest';
import { systemRandom } from '#base/random.ts';
import { createRequestIds } from './exchange.ts';

const saying = (id: string): IncomingMessage => ({ headers: { 'x-request-id': id } }) as unknown as IncomingMessage;

describe('a request id of ours', () => {
  test('is 96 bits in hex, and one of ours is taken back when a client sends it', () => {
    const ids = createRequestIds(systemRandom);
    const made = ids();
    expect(made).toMatch(/^[0-9a-f]{24}$/);
    expect(ids(saying(made))).toBe(made);
    expect(ids(saying('not one word'))).toMatch(/^[0-9a-f]{24}$/);
  });

  test('tells nothing of the calls before it: no character stays, none counts', () => {
    const ids = createRequestIds(systemRandom);
    const made = Array.from({ length: 2_000 }, () => ids());
    expect(new Set(made).size).toBe(made.length);
    for (let at = 0; at < 24; at++) {
      const digits = made.map((id) => parseInt(id[at] ?? '', 16));
      expect({ at, values: new Set(digits).size }).toEqual({ at, values: 16 });
      // Of a random digit 15 in 32 are above the one before it, with a deviation of 22 in 2 000: a count's are at 0 or at all.
      const rises = digits.filter((digit, i) => digit > (digits[i - 1] ?? 16)).length;
      expect(Math.abs(rises - (2_000 * 15) / 32)).toBeLessThan(200);
    }
  });

  test('is drawn for each call, from the randomness that is injected', () => {
    let drawn = 0;
    const ids = createRequestIds({ bytes: (n) => new Uint8Array(n).fill(++drawn) });
    expect([ids(), ids()]).toEqual(['01'.repeat(12), '02'.repeat(12)]);
  });
});
