// SPDX-License-Identifier: Apache-2.0
import { isUtf8 } from 'node:buffer';
import * as fc from 'fast-check';
import { expect, test } from 'vitest';
import { Utf8Check } from './utf8-check.ts';

/** Offset of the first fault in all the chunks. */
function check(bytes: Uint8Array, size: number): number | undefined {
  const utf8 = new Utf8Check();
  for (let at = 0; at < bytes.length; at += size) {
    const fault = utf8.push(bytes.subarray(at, at + size));
    if (fault !== undefined) return at + fault;
  }
  return undefined;
}

/** The same of all the bytes at once: where their longest head that is UTF-8 ends. */
function expected(bytes: Uint8Array): number | undefined {
  let good = bytes.length;
  while (!isUtf8(bytes.subarray(0, good))) good -= 1;
  return good === bytes.length ? undefined : good;
}

test('finds the first fault in any bytes, whatever the chunks', () => {
  const piece = fc.oneof(
    // Heads and tails of sequences, which whole random bytes rarely have.
    fc.uint8Array({ min: 0x80, max: 0xff, maxLength: 4 }),
    fc.constantFrom(
      ...['text', '\0', 'é', '漢', '\ud7ff', '\ue000', '\uffff', '😀', '\u{10ffff}'].map((text) => Buffer.from(text)),
    ),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), fc.integer({ min: 1, max: 9 }), (pieces, size) => {
      // Letters at the end, for it is no fault of a text that it may go on.
      const bytes = Buffer.concat([...pieces, Buffer.from('abc')]);
      expect(check(bytes, size)).toBe(expected(bytes));
    }),
    { numRuns: 2000 },
  );
});

test.each([
  ['a byte that is never used', [0xff]],
  ['a continuation without a head', [0x80]],
  ['an overlong slash', [0xc0, 0xaf]],
  ['an overlong slash of three bytes', [0xe0, 0x80, 0xaf]],
  ['a surrogate', [0xed, 0xa0, 0x80]],
  ['a code point above U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
  ['a letter in a sequence', [0xe6, 0xbc, 0x41]],
])('%s is a fault where its sequence begins', (_name, bytes) => {
  for (const size of [1, 2, 3, 100_000]) {
    for (const before of ['', 'é', 'x'.repeat(2_000), '😀漢é'.repeat(300)]) {
      const head = Buffer.from(before);
      const text = Buffer.concat([head, Buffer.from(bytes), Buffer.from('and so on')]);
      expect({ size, before: head.length, found: check(text, size) }).toEqual({
        size,
        before: head.length,
        found: head.length,
      });
    }
  }
});
