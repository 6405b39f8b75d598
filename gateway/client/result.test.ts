// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { acceptsGzip } from './result.ts';

test.each([
  [undefined, false],
  ['', false],
  ['gzip', true],
  ['br, GZIP;q=0.5', true],
  ['x-gzip', true],
  ['*', true],
  ['*;q=0', false],
  ['gzip;q=0, *', false],
  ['gzip;q=0', false],
  ['identity, br', false],
])('Accept-Encoding: %s', (header, accepted) => {
  expect(acceptsGzip(header)).toBe(accepted);
});
