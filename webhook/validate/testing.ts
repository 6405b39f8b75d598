// SPDX-License-Identifier: Apache-2.0
// Reviews of objects as the API server sends them: checked against the schema, defaults filled in.
import { validateInferenceApp, validatePlacement } from '#crds/validate.ts';
import type { Placement } from '#crds/placement.gen.ts';
import type { AdmissionRequest } from '../admission/types.ts';

type Json = Readonly<Record<string, unknown>>;

/** @throws when it is not valid */
export function stored(kind: 'InferenceApp' | 'Placement', name: string, spec: Json): Record<string, unknown> {
  const document = { apiVersion: 'penstock.dev/v1alpha1', kind, metadata: { name }, spec };
  const verdict = kind === 'InferenceApp' ? validateInferenceApp(document) : validatePlacement(document);
  if (!verdict.ok) throw new Error(JSON.stringify(verdict.errors));
  return { ...verdict.value };
}

export function aPlacement(name: string, spec: Json = {}): Placement {
  return stored('Placement', name, { kubernetes: {}, allowedNamespaces: ['team'], ...spec }) as unknown as Placement;
}

/** The review of a create, or with `oldObject` of an update. */
export function aReview(object: Json, oldObject?: Json): AdmissionRequest {
  const { kind, metadata } = object as { kind: string; metadata: { name: string } };
  const app = kind === 'InferenceApp';
  return {
    uid: 'review',
    kind: { group: 'penstock.dev', version: 'v1alpha1', kind },
    resource: { group: 'penstock.dev', version: 'v1alpha1', resource: app ? 'inferenceapps' : 'placements' },
    name: metadata.name,
    ...(app ? { namespace: 'team' } : {}),
    operation: oldObject === undefined ? 'CREATE' : 'UPDATE',
    userInfo: { username: 'bob', groups: ['system:authenticated'] },
    object,
    ...(oldObject === undefined ? {} : { oldObject }),
    dryRun: false,
  };
}
