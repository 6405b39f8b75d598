// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { plainCheck } from './plain-schema.ts';
import { createValidator } from './validator.ts';

const PLAIN: readonly Record<string, unknown>[] = [
  { type: 'object', required: ['a'], properties: { a: { type: 'string', minLength: 2, maxLength: 3 } } },
  { type: 'object', additionalProperties: false, properties: { a: true, constructor: { type: 'string' } } },
  { type: 'object', additionalProperties: true, required: ['toString'] },
  { type: 'array', items: { type: 'integer', minimum: -1, exclusiveMaximum: 3 }, minItems: 1, maxItems: 2 },
  { properties: { a: { items: { enum: ['x', 1, null, true] } }, b: { const: 'y' } } },
  { type: 'number', maximum: 1.5, exclusiveMinimum: 0, description: 'between', format: 'float' },
  { required: ['__proto__'], properties: { a: { type: 'null' } } },
  { minLength: 1, minItems: 1, minimum: 1 },
];

const BODIES = `
null true 0 1 1.0 1.5 2 -1 3 1e400 "a" "ab" "😀" "😀😀" "😀😀😀😀" ""
[] [1] [1,2] [1,2,0] [1.5] ["x"] [[1]] {} {"a":"ab"} {"a":"abcd"} {"a":"😀😀"}
{"a":"a"} {"a":1} {"a":null} {"a":["x",1,null,true]} {"a":["z"]} {"b":"y"} {"b":"z"}
{"constructor":"c"} {"constructor":1} {"toString":1} {"__proto__":1} {"a":"ab","c":1} {"a":{}}`
  .trim()
  .split(/\s/);

describe('the check of plain schemas', () => {
  it.each(PLAIN)('says what the validator says: %j', (schema) => {
    const plain = plainCheck(schema);
    const validator = createValidator();
    expect(validator.load('s', JSON.stringify(schema))).toMatchObject({ kind: 'loaded' });
    const verdicts = BODIES.map((body) => [body, plain?.(JSON.parse(body) as unknown)]);
    expect(verdicts).toEqual(BODIES.map((body) => [body, validator.check('s', body).kind === 'fits']));
  });

  it.each([
    { pattern: '^(a+)+$' },
    { properties: { a: { anyOf: [{ type: 'string' }] } } },
    { $ref: '#/definitions/a', definitions: { a: {} } },
    { items: { uniqueItems: true } },
    { type: ['string', 'null'] },
    { items: [{ type: 'string' }] },
    { enum: [{ a: 1 }] },
    { additionalProperties: { type: 'string' } },
    { additionalProperties: false, patternProperties: { a: {} } },
    { properties: { a: false } },
    { unknown: 1 },
  ])('leaves others to the threads: %j', (schema) => {
    expect(plainCheck(schema)).toBeUndefined();
  });

  it('leaves what is too deep or too large to the threads', () => {
    let deep: Record<string, unknown> = { type: 'string' };
    for (let i = 0; i < 20; i++) deep = { items: deep };
    const wide = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`p${i}`, { type: 'string' }]));
    expect(plainCheck(deep)).toBeUndefined();
    expect(plainCheck({ properties: wide })).toBeUndefined();
  });
});
