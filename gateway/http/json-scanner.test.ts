// SPDX-License-Identifier: Apache-2.0
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { JsonScanner, jsonFault } from './json-scanner.ts';

function scan(bytes: Uint8Array, chunk: number): { valid: boolean; member: ReturnType<JsonScanner['member']> } {
  const scanner = new JsonScanner('_rid');
  for (let i = 0; i < bytes.length; i += chunk) scanner.push(bytes.subarray(i, i + chunk));
  return { valid: scanner.end() === undefined, member: scanner.member() };
}

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

describe('the scanner and JSON.parse agree', () => {
  test('on every JSON document, whatever the chunks', () => {
    fc.assert(
      fc.property(fc.json(), fc.integer({ min: 1, max: 7 }), (text, chunk) => {
        expect(scan(Buffer.from(text), chunk).valid).toBe(true);
      }),
    );
  });

  test('on documents with one character removed, added or changed', () => {
    const edit = fc.constantFrom('"', '{', '}', '[', ']', ',', ':', '\\', 'u', '0', '-', '.', 'e', ' ', 't', '\n');
    fc.assert(
      fc.property(fc.json(), fc.nat(), edit, fc.nat(2), (text, at, char, how) => {
        const i = at % (text.length + 1);
        const changed = text.slice(0, i) + (how === 0 ? '' : char) + text.slice(how === 1 ? i : i + 1);
        expect({ changed, valid: scan(Buffer.from(changed), 3).valid }).toEqual({ changed, valid: parses(changed) });
      }),
      { numRuns: 2000 },
    );
  });

  test('on the value of a top-level member', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ maxLength: 40 }), fc.integer()), fc.jsonValue(), (rid, other) => {
        const text = JSON.stringify({ other, nested: { _rid: 'no' }, _rid: rid });
        const { member } = scan(Buffer.from(text), 5);
        expect(typeof member === 'object' ? JSON.parse(member.text) : member).toEqual(rid);
      }),
    );
  });
});

test.each([
  ['no member', '{"a":1}', 'absent'],
  ['only a nested one', '{"a":{"_rid":"x"},"b":["_rid"]}', 'absent'],
  ['one in an array at the top', '[{"_rid":"x"}]', 'absent'],
  ['the value _rid', '{"a":"_rid"}', 'absent'],
  ['an escaped name', String.raw`{"\u005frid":"x"}`, { text: '"x"' }],
  ['two of them: the last one', '{"_rid":"x","_rid":7}', { text: '7' }],
  ['null', '{"_rid":null}', 'unusable'],
  ['an object', '{"_rid":{"a":1}}', 'unusable'],
  ['an endless string', `{"_rid":"${'x'.repeat(10_000)}"}`, 'unusable'],
])('the member of a document with %s', (_name, text, member) => {
  expect(scan(Buffer.from(text), 4)).toEqual({ valid: true, member });
});

test.each([
  ['an early end', '{"a":', 'the text ends too early', 5],
  ['a comma too many', '{"a":1,}', 'a member name in double quotes was expected', 7],
  ['two documents', '{} {}', 'text after the end of the document', 3],
  ['the wrong bracket', '{"a":[1}', 'a closing bracket that matches no opening one', 7],
  ['a bare word', 'hello', 'not a literal or number of JSON', 5],
  ['nothing', '', 'the text ends too early', 0],
  ['too many levels', '['.repeat(600), 'nested deeper than 512 levels', 512],
])('a fault by %s is named with its position', (_name, text, reason, position) => {
  expect(jsonFault(Buffer.from(text))).toEqual({ reason, position });
});

describe('text that is not UTF-8', () => {
  const fault = (bytes: Uint8Array, size: number) => {
    const scanner = new JsonScanner('_rid');
    for (let i = 0; i < bytes.length; i += size) scanner.push(bytes.subarray(i, i + size));
    return scanner.end();
  };

  test.each([
    ['Latin-1', '{"a":"Z\xfcrich"}', 'not UTF-8', 7],
    ['an overlong quote', '{"a":"\xc0\xa2"}', 'not UTF-8', 6],
    ['a surrogate', '{"a":"\xed\xa0\x80"}', 'not UTF-8', 6],
    ['half a character before the closing quote', '{"a":"\xe6\xbc"}', 'not UTF-8', 6],
    ['a member name', '{"_ri\xff":1}', 'not UTF-8', 5],
    ['the value of the member', '{"_rid":"\xff"}', 'not UTF-8', 9],
    ['a fault before it', '{"a":1,,"\xff"}', 'a member name in double quotes was expected', 7],
    ['bytes outside a string', '{"a":\xff}', 'a value was expected', 5],
    ['half a character outside a string', '[1\xe6\xbc', 'a comma or a closing bracket was expected', 2],
    ['half a character at the end', '"\xe6\xbc', 'the text ends too early', 3],
    ['UTF-16', '\xff\xfe{\0}\0', 'a value was expected', 0],
  ])('is a fault, whatever the chunks: %s', (_name, latin1, reason, position) => {
    const bytes = Buffer.from(latin1, 'latin1');
    for (const size of [1, 2, 3, bytes.length])
      expect({ size, ...fault(bytes, size) }).toEqual({ size, reason, position });
  });

  test('is not what chunks make of characters that they cut apart', () => {
    const bytes = Buffer.from('{"é漢😀":"é漢😀\ufffd","_rid":"é漢😀"}');
    for (let size = 1; size < 12; size++) {
      expect(scan(bytes, size)).toEqual({ valid: true, member: { text: '"é漢😀"' } });
    }
  });
});
