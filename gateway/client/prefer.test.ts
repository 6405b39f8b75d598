// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { ProblemError } from '#base/problem.ts';
import { parsePrefer } from './prefer.ts';

test.each([
  [undefined, { waitSeconds: 0 }],
  ['', { waitSeconds: 0 }],
  ['wait=10', { waitSeconds: 10, applied: 'wait=10' }],
  ['wait="10"', { waitSeconds: 10, applied: 'wait=10' }],
  ['Wait = 10', { waitSeconds: 10, applied: 'wait=10' }],
  ['wait=0', { waitSeconds: 0, applied: 'wait=0' }],
  ['wait=3600', { waitSeconds: 60, applied: 'wait=60' }],
  ['respond-async', { waitSeconds: 0, applied: 'respond-async' }],
  ['respond-async, wait=5', { waitSeconds: 5, applied: 'respond-async, wait=5' }],
  ['wait=5, respond-async', { waitSeconds: 5, applied: 'respond-async, wait=5' }],
  ['wait=5; priority=1, wait=9', { waitSeconds: 5, applied: 'wait=5' }],
  ['return=minimal, handling=lenient', { waitSeconds: 0 }],
])('Prefer: %s', (header, preference) => {
  expect(parsePrefer(header)).toEqual(preference);
});

test.each(['wait=soon', 'wait=-1', 'wait=1.5', 'wait', 'wait=', 'wait=9999999999'])(
  'Prefer: %s is refused',
  (header) => {
    expect(() => parsePrefer(header)).toThrow(ProblemError);
  },
);
