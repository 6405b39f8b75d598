// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { formatFieldError } from './field-error.ts';
import { validateInferenceApp, validatePlacement } from './validate.ts';

const worker = { archetype: 'Handler', handler: 'a.ts' };

function app(spec: unknown): unknown {
  return { apiVersion: 'penstock.dev/v1alpha1', kind: 'InferenceApp', metadata: { name: 'app' }, spec };
}

function errorsOf(doc: unknown): string[] {
  const verdict = validateInferenceApp(doc);
  return verdict.ok ? [] : verdict.errors.map(formatFieldError);
}

test('a valid document comes back with its defaults, the argument untouched', () => {
  const doc = app({ worker, scaling: { maxUnits: 4 } });
  const before = structuredClone(doc);
  const verdict = validateInferenceApp(doc);
  expect(doc).toEqual(before);
  expect(verdict).toMatchObject({
    ok: true,
    value: {
      spec: {
        desiredState: 'Ready',
        worker: { instances: 1 },
        request: { maxBytes: 8_388_608, retry: { maxAttempts: 3, maxLosses: 5 } },
        scaling: { minUnits: 0, maxUnits: 4, idleLinger: { policy: 'Fixed', seconds: 30 } },
      },
    },
  });
});

test('defaults are copies: changing one value changes no other document', () => {
  const first = validateInferenceApp(app({ worker }));
  if (!first.ok) throw new Error('the least document must be valid');
  first.value.spec.scaling.idleLinger.seconds = 99;
  expect(validateInferenceApp(app({ worker }))).toMatchObject({
    value: { spec: { scaling: { idleLinger: { seconds: 30 } } } },
  });
});

describe('says what was meant', () => {
  test.each<[string, unknown, string]>([
    ['a misspelt field', { worker, scalling: {} }, 'spec.scalling: is not a known field (did you mean spec.scaling?)'],
    [
      'swapped letters',
      { worker: { ...worker, iamge: 'a' } },
      'spec.worker.iamge: is not a known field (did you mean spec.worker.image?)',
    ],
    [
      'a field in the wrong place',
      { worker, maxUnits: 3 },
      'spec.maxUnits: is not a known field (did you mean spec.scaling.maxUnits?)',
    ],
    ['a field that is like no other', { worker, quux: 1 }, 'spec.quux: is not a known field'],
    [
      'a value in other letters',
      { worker, desiredState: 'paused' },
      'spec.desiredState: must be one of Ready, Paused, Draining, not "paused" (did you mean Paused?)',
    ],
    ['a number in quotes', { worker, scaling: { maxUnits: '3' } }, 'spec.scaling.maxUnits: must be integer, not "3"'],
    ['a limit', { worker, scaling: { maxUnits: 0 } }, 'spec.scaling.maxUnits: must be at least 1, not 0'],
    [
      'a missing field',
      { worker: { archetype: 'Handler' } },
      'spec.worker.handler: handler must be specified when archetype is Handler',
    ],
  ])('%s', (_name, spec, message) => {
    expect(errorsOf(app(spec))).toEqual([message]);
  });

  test('a pattern, with the description of its field', () => {
    expect(errorsOf(app({ worker: { ...worker, image: ' ' } }))[0]).toMatch(
      /not " " \(Container image\. Needed on Kub/,
    );
  });
});

test('all independent errors are reported at once', () => {
  const paths = errorsOf(app({ worker: { ...worker, image: ' ', zzz: 1 }, scaling: { minUnits: 5 } })).map(
    (line) => line.split(':')[0],
  );
  expect(paths).toEqual(['spec.worker.zzz', 'spec.worker.image', 'spec.scaling.minUnits']);
});

test.each([null, undefined, 1, 'text', [], true])('%j is no document', (doc) => {
  expect(validatePlacement(doc)).toEqual({ ok: false, errors: [{ path: '', message: 'must be an object' }] });
});

test('ten thousand unknown fields give a short list', () => {
  const spec = Object.fromEntries(Array.from({ length: 10_000 }, (_, index) => [`field${index}`, 1]));
  expect(errorsOf(app({ worker, ...spec })).length).toBeLessThanOrEqual(64);
});

test('a member called __proto__ is an unknown field and sets no prototype', () => {
  const doc: unknown = JSON.parse(`{"apiVersion":"penstock.dev/v1alpha1","kind":"InferenceApp","metadata":{"name":"a"},
    "spec":{"worker":{"archetype":"Handler","handler":"a.ts","__proto__":{"image":"evil"}}}}`);
  expect(errorsOf(doc)).toEqual(['spec.worker.__proto__: is not a known field']);
});
