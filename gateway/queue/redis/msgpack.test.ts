// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { unpack } from './msgpack.ts';

test.each([
  ['a small number', '07', 7],
  ['a small negative one', 'ff', -1],
  ['8 bits', 'ccff', 255],
  ['16 bits', 'cdffff', 65_535],
  ['32 bits', 'ceffffffff', 4_294_967_295],
  ['53 bits', 'cf001fffffffffffff', Number.MAX_SAFE_INTEGER],
  ['signed 8 bits', 'd080', -128],
  ['signed 16 bits', 'd18000', -32_768],
  ['signed 32 bits', 'd280000000', -2_147_483_648],
  ['signed 64 bits', 'd300000000ffffffff', 4_294_967_295],
  ['a float', 'ca3fc00000', 1.5],
  ['a double', 'cb3ff8000000000000', 1.5],
  ['nothing', 'c0', null],
  ['true and false', '92c3c2', [true, false]],
  ['an empty string', 'a0', ''],
  ['a short string', 'a3666f6f', 'foo'],
  ['a string with 8 bits of length', 'd9036bc3a9', 'ké'],
  ['a string with 16 bits of length', 'da0003666f6f', 'foo'],
  ['a string with 32 bits of length', 'db00000003666f6f', 'foo'],
  ['an array of arrays', '9201920203', [1, [2, 3]]],
  ['an array with 16 bits of length', 'dc00020102', [1, 2]],
])('reads %s', (_name, hex, value) => {
  expect(unpack(Buffer.from(`${hex}beef`, 'hex'))).toEqual({ value, rest: Buffer.from('beef', 'hex') });
});

test.each([
  ['of an unknown type', '81a16101', 'unknown type 0x81'],
  ['cut short', 'cd01', 'out of range'],
  ['empty', '', 'outside buffer bounds'],
])('refuses a value that is %s', (_name, hex, why) => {
  expect(() => unpack(Buffer.from(hex, 'hex'))).toThrow(why);
});
