// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp, InferenceAppStatus } from '#crds/inference-app.gen.ts';
import { CONDITIONS, REASONS } from '#crds/names.ts';
import { validateInferenceApp } from '#crds/validate.ts';
import { shorten, toConditions } from '../decide/conditions.ts';
import type { DecideInput, PlacementChoice } from '../decide/types.ts';

export type CheckedSpec =
  | { readonly ok: true; readonly app: InferenceApp }
  | { readonly ok: false; readonly message: string };

/**
 * The app with every default filled in. The API server has checked each write, but an object stored under an older CRD is not
 * checked again: such a one must harm no other app, and say itself what is wrong.
 */
export function checkSpec(app: InferenceApp): CheckedSpec {
  const { name, namespace } = app.metadata;
  const metadata = namespace === undefined ? { name } : { name, namespace };
  const verdict = validateInferenceApp({ apiVersion: app.apiVersion, kind: app.kind, metadata, spec: app.spec });
  if (!verdict.ok) {
    const errors = verdict.errors.map((error) => `${error.path} ${error.message}`).join('; ');
    return { ok: false, message: shorten(`the spec is not valid: ${errors}`) };
  }
  return { ok: true, app: { ...app, spec: verdict.value.spec } };
}

/** Units need an image here: the app's, or that of the placement entry by which they run. */
export function imageProblem(app: InferenceApp, placement: PlacementChoice): DecideInput['specProblem'] {
  const { worker, placements = [] } = app.spec;
  const entry = placement.kind === 'chosen' ? placements.find(({ name }) => name === placement.name) : undefined;
  if (worker.image !== undefined || entry?.overrides?.image !== undefined) return undefined;
  // Without a placement that is what keeps units from starting, and the image may still come with it.
  if (placement.kind === 'none' && placements.some(({ overrides }) => overrides?.image !== undefined)) return undefined;
  const message = 'spec.worker.image is required on Kubernetes: name an image with the handler or the model server';
  return { reason: REASONS.imageRequired, message };
}

/** Status of an app whose spec can't be read: nothing is decided about its units. */
export function invalidStatus(app: InferenceApp, message: string, now: number): InferenceAppStatus {
  const { generation } = app.metadata;
  const finding = { type: CONDITIONS.ready, status: 'False', reason: REASONS.invalidSpec, message } as const;
  return {
    phase: 'Held',
    reason: message,
    conditions: toConditions([finding], app.status?.conditions, generation, now),
    ...(generation === undefined ? {} : { observedGeneration: generation }),
  };
}
