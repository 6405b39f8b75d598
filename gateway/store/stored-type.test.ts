// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { checkContentType } from './body.ts';
import { payloadType, storedType } from './stored-type.ts';

const gzip = { contentEncoding: 'gzip' };

test.each([
  [{ contentType: 'text/plain' }, 'text/plain'],
  [{ contentType: 'text/plain', ...gzip }, 'text/plain; penstock-encoding=gzip'],
  [{ contentType: 'text/plain; charset=utf-8', ...gzip }, 'text/plain; charset=utf-8; penstock-encoding=gzip'],
])('%j is stored as %s, and read back', (type, stored) => {
  expect(storedType(type)).toBe(stored);
  expect(payloadType(stored)).toEqual(type);
  expect(checkContentType(stored)).toBe(stored);
});

test('a type too long to carry the mark gives way to it: bytes must never be taken for what they are not', () => {
  const stored = storedType({ contentType: `text/${'x'.repeat(250)}`, ...gzip });
  expect(checkContentType(stored)).toBe(stored);
  expect(payloadType(stored)).toEqual({ contentType: 'application/octet-stream', ...gzip });
});
