// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it, test } from 'vitest';
import { compact, expand } from './compact.ts';

const DIGEST = '00ff'.repeat(16);

describe('compact strings', () => {
  it.each([
    ['nothing', []],
    ['an empty string', ['']],
    ['plain text', ['application/json', '', 'gzip']],
    ['text beyond ASCII', ['ключ-é-日本-😀']],
    ['a digest', [`k:${DIGEST}`]],
    ['a digest alone', [DIGEST]],
    ['a trace', ['00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01']],
    ['an odd run of hex digits', [`${DIGEST}a`, `x${DIGEST}ab-cd`]],
    ['hex digits in capitals', [DIGEST.toUpperCase()]],
    ['short runs', ['abcdef0123456789', 'abcdef012345678']],
    ['long ones', ['x'.repeat(1_024), DIGEST.repeat(8), 'é'.repeat(1_024)]],
    ['many runs', [Array.from({ length: 60 }, () => '0123456789abcdef').join('-')]],
  ])('%s comes back', (_name, strings) => {
    const bytes = Buffer.from('body');
    expect(expand(compact(strings, bytes))).toEqual({ strings, bytes });
    expect(expand(compact(strings, undefined))).toEqual({ strings, bytes: Buffer.alloc(0) });
  });
});

test('a digest takes half of its digits, a trace three quarters', () => {
  const size = (text: string): number => compact([text], undefined).length;
  expect(size(`k:${DIGEST}`)).toBeLessThanOrEqual(2 + 32 + 6);
  expect(size('00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01')).toBeLessThanOrEqual(0.75 * 55);
});

test('what does not fit is refused, never cut', () => {
  expect(() => compact(['x'.repeat(40_000)], undefined)).toThrow(RangeError);
  expect(() => compact(['x'.repeat(30_000), 'y'.repeat(30_000), 'z'.repeat(30_000)], undefined)).toThrow(RangeError);
});
