// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { dialectOf, requestSchemaFault } from './request-schema.ts';

const nested = (depth: number): Record<string, unknown> => (depth === 0 ? {} : { items: nested(depth - 1) });

test.each<[string, Record<string, unknown>]>([
  ['empty', {}],
  ['with references of its own', { $ref: '#/$defs/a', $defs: { a: { $dynamicRef: '#x' } } }],
  ['with a member called $ref', { properties: { $ref: { type: 'string' } } }],
  ['with a reference in its data', { const: { $ref: 'http://example.com/x' }, examples: [{ $ref: 'x' }] }],
  ['draft-07', { $schema: 'http://json-schema.org/draft-07/schema#' }],
  ['2020-12', { $schema: 'https://json-schema.org/draft/2020-12/schema' }],
  ['nested 64 levels', nested(64)],
])('a schema that is %s can be used', (_name, schema) => {
  expect(requestSchemaFault(schema)).toBeUndefined();
});

test.each<[string, Record<string, unknown>, RegExp]>([
  ['a remote reference', { properties: { a: { $ref: 'https://example.com/a.json' } } }, /\$ref "https:\/\/example/],
  ['a reference to a file', { anyOf: [{ $ref: 'other.json#/a' }] }, /points out of the schema/],
  ['another dialect', { $schema: 'http://json-schema.org/draft-04/schema#' }, /\$schema is neither/],
  ['a dialect that is no text', { $schema: 7 }, /\$schema is neither/],
  ['more than 64 KiB', { description: 'x'.repeat(65_536) }, /65554 bytes/],
  ['more than 64 levels', nested(65), /deeper than 64/],
])('a schema with %s cannot, and why is said', (_name, schema, why) => {
  expect(requestSchemaFault(schema)).toMatch(why);
});

test('what does not say its dialect is 2020-12', () => {
  expect(dialectOf({})).toBe('2020-12');
  expect(dialectOf({ $schema: 'http://json-schema.org/draft-07/schema' })).toBe('draft-07');
});
