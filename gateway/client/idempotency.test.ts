// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { ProblemError } from '#base/problem.ts';
import { dedupeKey, explicitKey, parseIdempotencyKey, parseRid } from './idempotency.ts';

describe('Idempotency-Key', () => {
  test.each([
    [undefined, undefined],
    ['abc', 'abc'],
    ['8e03978e-40d5-43dd-bc93-6894a57f9324', '8e03978e-40d5-43dd-bc93-6894a57f9324'],
    ['"abc"', 'abc'],
    ['"a b, c"', 'a b, c'],
    [String.raw`"a\"b\\c"`, String.raw`a"b\c`],
    ['x'.repeat(255), 'x'.repeat(255)],
  ])('%s', (header, key) => {
    expect(parseIdempotencyKey(header)).toBe(key);
  });

  test.each(['', '""', 'a b', 'a, b', '"a', 'a"', '"a" "b"', String.raw`"a\x"`, '"ä"', 'ä', 'x'.repeat(256)])(
    '%s is refused',
    (header) => {
      expect(() => parseIdempotencyKey(header)).toThrow(ProblemError);
    },
  );
});

describe('_rid', () => {
  test.each<[Parameters<typeof parseRid>[0], string | undefined]>([
    ['absent', undefined],
    [{ text: '"a"' }, 'a'],
    [{ text: '42' }, '42'],
    [{ text: String.raw`"\u00e4"` }, 'ä'],
  ])('%j', (member, key) => {
    expect(parseRid(member)).toBe(key);
  });

  test.each<Parameters<typeof parseRid>[0]>(['unusable', { text: '""' }, { text: '1.5' }, { text: '1e300' }])(
    '%j is refused',
    (member) => {
      expect(() => parseRid(member)).toThrow(ProblemError);
    },
  );
});

test('header and _rid name one key, or the request is refused', () => {
  expect(explicitKey('a', undefined)).toBe('a');
  expect(explicitKey(undefined, 'a')).toBe('a');
  expect(explicitKey('a', 'a')).toBe('a');
  expect(explicitKey(undefined, undefined)).toBeUndefined();
  expect(() => explicitKey('a', 'b')).toThrow(ProblemError);
});

test('a dedupe key tells tenants, revisions, explicit keys and contents apart, and holds nothing that a user wrote', () => {
  const scope = { tenant: 'one', revision: 'r1' };
  const keys = [
    dedupeKey(scope, undefined, 'digest'),
    dedupeKey(scope, undefined, 'other'),
    dedupeKey(scope, 'key', 'digest'),
    dedupeKey({ ...scope, tenant: 'two' }, 'key', 'digest'),
    dedupeKey({ ...scope, revision: 'r2' }, 'key', 'digest'),
  ];
  expect(new Set(keys).size).toBe(keys.length);
  expect(dedupeKey(scope, 'key', 'digest')).toBe(dedupeKey(scope, 'key', 'other'));
  expect(dedupeKey(scope, '*}:evil\n', 'digest')).toMatch(/^one:r1:k:[0-9a-f]{64}$/);
});
