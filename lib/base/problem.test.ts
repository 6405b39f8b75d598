// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { ProblemError, problemTable } from './problem.ts';

const errors = problemTable({
  'too-large': { status: 413, title: 'The body is too large' },
  'not-found': { status: 404, title: 'Not found' },
});

test('an error becomes the problem details of its row, with field and fix', () => {
  const err = errors('too-large', 'the body has 9 bytes, at most 8 are taken', {
    field: 'body',
    fix: 'send less',
    limit: 8,
  });
  expect(err).toBeInstanceOf(ProblemError);
  expect(err.toProblem()).toEqual({
    type: 'urn:penstock:problem:too-large',
    title: 'The body is too large',
    status: 413,
    detail: 'the body has 9 bytes, at most 8 are taken',
    field: 'body',
    fix: 'send less',
    limit: 8,
  });
});

test('cause and response headers stay out of the document', () => {
  const cause = new Error('socket');
  const err = errors('not-found', 'no such app', { cause, headers: { 'retry-after': '1' } });
  expect(err.cause).toBe(cause);
  expect(err.headers).toEqual({ 'retry-after': '1' });
  expect(JSON.stringify(err.toProblem())).not.toMatch(/socket|retry/);
});
