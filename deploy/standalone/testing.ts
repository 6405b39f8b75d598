// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp, InferenceAppSpec } from '#crds/inference-app.gen.ts';
import { validateInferenceApp } from '#crds/validate.ts';

/** A valid app as the manifest reader hands it on, defaults filled in. `worker` is what a person would write. */
export function anApp(
  worker: Readonly<Record<string, unknown>>,
  spec: Readonly<Record<string, unknown>> = {},
): InferenceApp {
  const verdict = validateInferenceApp({
    apiVersion: 'penstock.dev/v1alpha1',
    kind: 'InferenceApp',
    metadata: { name: 'ocr' },
    spec: { worker, ...spec } as unknown as InferenceAppSpec,
  });
  if (verdict.ok) return verdict.value;
  throw new Error(JSON.stringify(verdict.errors));
}
