// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { FAULTS_MAX, createValidator } from './validator.ts';
import type { BodyVerdict } from './verdict.ts';

const validator = createValidator();

function check(schema: unknown, body: unknown): BodyVerdict {
  expect(validator.load('s', JSON.stringify(schema))).toMatchObject({ kind: 'loaded' });
  return validator.check('s', typeof body === 'string' ? body : JSON.stringify(body));
}

function faults(schema: unknown, body: unknown): unknown {
  const verdict = check(schema, body);
  return verdict.kind === 'misfits' ? verdict.errors.map(({ pointer, detail }) => [pointer, detail]) : [];
}

describe('a fault is named by its JSON pointer', () => {
  test.each<[string, unknown, unknown, [string, unknown][]]>([
    ['a missing member', { required: ['a/b'] }, {}, [['/a~1b', 'is required']]],
    [
      'an extra member',
      { properties: { a: {} }, additionalProperties: false },
      { 'x~y': 1 },
      [['/x~0y', 'is not known here']],
    ],
    [
      'one among evaluated ones',
      { allOf: [{ properties: { a: {} } }], unevaluatedProperties: false },
      { a: 1, b: 2 },
      [['/b', 'is not known here']],
    ],
    [
      'a wrong type in a list',
      { properties: { l: { items: { type: 'integer' } } } },
      { l: [1, 'x'] },
      [['/l/1', 'must be integer']],
    ],
    ['a value that is none of some', { enum: ['a', null] }, 1, [['', 'must be one of ["a",null]']]],
    ['a value that is not the one', { const: { a: null } }, {}, [['', 'must be {"a":null}']]],
    [
      'several at once',
      { required: ['a', 'b'], maxProperties: 0 },
      { c: 1 },
      [
        ['', expect.any(String)],
        ['/a', 'is required'],
        ['/b', 'is required'],
      ],
    ],
    ['a member that every object inherits', { required: ['constructor'] }, {}, [['/constructor', 'is required']]],
    [
      'a member called __proto__',
      { required: ['__proto__'] },
      '{"x":{"__proto__":1}}',
      [['/__proto__', 'is required']],
    ],
  ])('%s', (_name, schema, body, expected) => {
    expect(faults(schema, body)).toEqual(expected);
  });
});

test('what fits fits, format being an annotation', () => {
  expect(check({ type: 'object', properties: { at: { format: 'date-time' } } }, { at: 'never' })).toEqual({
    kind: 'fits',
  });
  expect(check({ required: ['__proto__'] }, '{"__proto__":1}')).toEqual({ kind: 'fits' });
});

test('draft-07 is read as draft-07', () => {
  const tuple = { $schema: 'http://json-schema.org/draft-07/schema#', items: [{ type: 'integer' }] };
  expect(faults(tuple, ['x'])).toEqual([['/0', 'must be integer']]);
});

test('a long list of faults is cut, and long texts in it too', () => {
  const verdict = check({ items: { type: 'string' } }, Array(1000).fill(1));
  expect(verdict).toMatchObject({ kind: 'misfits', more: true });
  expect(verdict.kind === 'misfits' && verdict.errors.length).toBe(FAULTS_MAX);
  const [[pointer]] = faults({ additionalProperties: false }, { ['x'.repeat(10_000)]: 1 }) as [[string]];
  expect(pointer).toHaveLength(256);
});

test('of a large body the first fault is named', () => {
  const verdict = check({ items: { type: 'string' } }, Array(100_000).fill(1));
  expect(verdict).toEqual({ kind: 'misfits', errors: [{ pointer: '/0', detail: 'must be string' }], more: true });
});

test('a body nested deeper than a recursive schema can follow is a fault, not the end', () => {
  const depth = 200_000;
  const verdict = check({ items: { $ref: '#' } }, `${'['.repeat(depth)}${']'.repeat(depth)}`);
  expect(verdict).toMatchObject({
    kind: 'misfits',
    errors: [{ pointer: '', detail: expect.stringMatching(/deeper/) }],
  });
});

test.each<[string, unknown, RegExp]>([
  ['a misspelt keyword', { tpye: 'object' }, /unknown keyword: "tpye"/],
  ['a keyword of the wrong type', { minLength: 'x' }, /schema is invalid/],
  ['a pattern that does not compile', { pattern: '(' }, /Invalid regular expression/],
  ['a reference to nothing', { $ref: '#/$defs/a' }, /can't resolve reference/],
  ['a remote reference', { $ref: 'https://example.com/a' }, /can't resolve reference/],
  ['$async', { $async: true }, /\$async/],
])('a schema with %s is unusable, and why is said', (_name, schema, why) => {
  expect(validator.load('bad', JSON.stringify(schema))).toEqual({
    kind: 'unusable',
    reason: expect.stringMatching(why),
  });
});
