// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { MAX_DOCUMENTS, MAX_MANIFEST_BYTES, parseManifests } from './parse.ts';

test('documents come with the line on which they start, empty ones are left out', () => {
  expect(parseManifests('# first\na: 1\n---\n---\n\nb: [2]\n---\n')).toEqual({
    ok: true,
    documents: [
      { value: { a: 1 }, line: 2 },
      { value: { b: [2] }, line: 6 },
    ],
  });
});

test('JSON is read as well', () => {
  expect(parseManifests('{"a": {"b": null}}')).toEqual({
    ok: true,
    documents: [{ value: { a: { b: null } }, line: 1 }],
  });
});

test.each<[string, string, string]>([
  ['a key twice', 'a: 1\nb: 2\na: 3\n', 'line 3'],
  ['a broken document', 'a: 1\n---\nb: [1\n', 'line 4'],
  ['a tab as indent', 'a:\n\tb: 1\n', 'line 2'],
  ['an alias without an anchor', 'a: *b\n', 'line 1'],
  ['too long a text', `a: ${'x'.repeat(MAX_MANIFEST_BYTES)}`, ''],
  ['too many documents', '---\na: 1\n'.repeat(MAX_DOCUMENTS + 1), ''],
])('%s is refused', (_name, text, path) => {
  expect(parseManifests(text)).toMatchObject({ ok: false, errors: [{ path }] });
});

test('a text that would grow a billionfold is refused', () => {
  const levels = 'bcdefghi'.split('');
  const lines = levels.map((name, index) => {
    const before = index === 0 ? 'a' : levels[index - 1];
    return `${name}: &${name} [${`*${before},`.repeat(9)}*${before}]`;
  });
  expect(parseManifests(`a: &a [x]\n${lines.join('\n')}\n`)).toMatchObject({ ok: false });
});
