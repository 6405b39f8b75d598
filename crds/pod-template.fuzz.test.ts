// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { InferenceApp } from './inference-app.gen.ts';
import { podTemplateErrors } from './pod-template.ts';
import { unitImages } from './unit-images.ts';
import { unitReferences } from './unit-references.ts';

const KEYS =
  'metadata labels annotations spec volumes containers initContainers securityContext name env envFrom valueFrom secretKeyRef image ports lifecycle httpGet host resources limits capabilities add sysctls seccompProfile type affinity nodeSelector __proto__'.split(
    ' ',
  );
/** Anything that JSON can hold, with the names that the checks look for. */
const { json } = fc.letrec((tie) => ({
  json: fc.oneof(
    { maxDepth: 7, withCrossShrink: true },
    fc.constantFrom(null, true, false, 0, 1, '', 'x', 'worker', 'server', 'token', 'ALL'),
    fc.array(tie('json'), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom(...KEYS), tie('json'), { maxKeys: 5 }),
  ),
}));
const template = fc.dictionary(fc.constantFrom('metadata', 'spec', 'other'), json);

test('whatever a preserved field holds is judged, by path, and never throws', () => {
  fc.assert(
    fc.property(template, fc.constantFrom('Handler', 'Sidecar'), (podTemplate, archetype) => {
      const errors = podTemplateErrors(podTemplate, archetype);
      expect(errors.length).toBeLessThanOrEqual(32);
      for (const { path, message } of errors) {
        expect(path.startsWith('spec.worker.podTemplate')).toBe(true);
        expect(message.length).toBeLessThan(300);
      }
      const spec = { worker: { archetype, podTemplate } } as unknown as InferenceApp['spec'];
      for (const { path } of [...unitReferences(spec), ...unitImages(spec)]) {
        expect(path).toMatch(/^spec\.worker\.podTemplate\.(spec|metadata)\./);
      }
    }),
    { numRuns: 2_000 },
  );
});
