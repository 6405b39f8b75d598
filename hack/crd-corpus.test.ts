// SPDX-License-Identifier: Apache-2.0
// The local half of the corpus; test/integration/crds.test.ts shows that a real API server gives the same verdicts.
import { describe, expect, test } from 'vitest';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import { validateInferenceApp, validatePlacement } from '#crds/validate.ts';
import type { ValidCase } from '#test/corpus/crds/case.ts';
import { INVALID_APPS } from '#test/corpus/crds/invalid-apps.ts';
import { INVALID_PLACEMENTS } from '#test/corpus/crds/invalid-placements.ts';
import { mutations, reachedPaths, schemaPaths } from '#test/corpus/crds/mutations.ts';
import { TRANSITIONS } from '#test/corpus/crds/transitions.ts';
import { sampleCases, VALID } from '#test/corpus/crds/valid.ts';

function errorPaths({ kind, doc }: ValidCase): string[] {
  const verdict = kind === 'InferenceApp' ? validateInferenceApp(doc) : validatePlacement(doc);
  return verdict.ok ? [] : verdict.errors.map((error) => error.path);
}

const valid = [...VALID, ...sampleCases()];
const named = [...INVALID_APPS, ...INVALID_PLACEMENTS];
const mutated = mutations();

/** Set in another item than the first, so that exactly-one-of rules hold; named cases break them. */
const REACHED_ELSEWHERE = /\.env\[0\]\.valueFrom|\.envFrom\[0\]\.secretRef|tolerations\[0\]\.(value|tolerationSeconds)/;

test('the corpus is large enough, and no name stands for two cases', () => {
  expect(valid.length).toBeGreaterThanOrEqual(25);
  expect(named.length).toBeGreaterThanOrEqual(60);
  const names = [...named, ...mutated].map(({ kind, name }) => `${kind} ${name}`);
  expect(new Set(names).size).toBe(names.length);
});

test.each(['InferenceApp', 'Placement'] as const)('mutations reach every field of %s', (kind) => {
  const reached = new Set(reachedPaths(kind));
  const missed = schemaPaths(kind).filter((path) => !reached.has(path) && !REACHED_ELSEWHERE.test(path));
  expect(missed).toEqual([]);
});

describe('valid', () => {
  test.each(valid)('$kind: $name', (item) => {
    expect(errorPaths(item)).toEqual([]);
  });
});

describe('invalid', () => {
  test.each(named)('$kind: $name', (item) => {
    expect(errorPaths(item)).toContain(item.path);
  });

  test('every mutation is refused, at its path', () => {
    const missed = mutated.filter((item) => !errorPaths(item).includes(item.path));
    expect(missed.map(({ name }) => name)).toEqual([]);
  });
});

describe('transitions', () => {
  test.each(TRANSITIONS)('$name', ({ old, next, path }) => {
    const before = validateInferenceApp(old);
    if (!before.ok) throw new Error(JSON.stringify(before.errors));
    const after = validateInferenceApp(next, before.value satisfies InferenceApp);
    const paths = after.ok ? [] : after.errors.map((error) => error.path);
    expect(paths.slice(0, 1)).toEqual(path === undefined ? [] : [path]);
  });
});
