// SPDX-License-Identifier: Apache-2.0
// What makes an app wrong, as far as it shows without asking the API server anything.
import { element } from '#crds/field-error.ts';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import type { Placement } from '#crds/placement.gen.ts';
import { POD_TEMPLATE } from '#crds/pod-template.ts';
import { requestSchemaFault } from '#crds/request-schema.ts';
import { unitImages } from '#crds/unit-images.ts';
import { validateInferenceApp } from '#crds/validate.ts';
import type { ImagePolicy } from './images.ts';
import { forbidden, invalid } from './problems.ts';
import type { Problem } from './problems.ts';

/** Stands for every namespace in `allowedNamespaces`. */
const ANY_NAMESPACE = '*';

/**
 * By the same functions that check a manifest without a cluster: schema and rules, which the API server has checked by now, and what
 * it preserved without looking.
 */
export function formProblems(object: Readonly<Record<string, unknown>>): Problem[] {
  const verdict = validateInferenceApp(withoutServerFields(object));
  if (verdict.ok) return [];
  return verdict.errors.map((error) =>
    error.path.startsWith(POD_TEMPLATE) ? forbidden(error.path, invalid(error).message) : invalid(error),
  );
}

/** Of metadata only the name is ours to judge; a status is the operator's. */
function withoutServerFields(object: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const { apiVersion, kind, metadata, spec } = object;
  const { name, generateName, namespace } = (metadata ?? {}) as Record<string, unknown>;
  const given = Object.entries({ name, generateName, namespace }).filter(([, value]) => value !== undefined);
  return { apiVersion, kind, metadata: Object.fromEntries(given), spec };
}

/** In a cluster an unusable schema would show as a condition only, and as a 409 to every client. */
export function schemaProblems({ spec }: InferenceApp): Problem[] {
  const { schema } = spec.request;
  const fault = schema === undefined ? undefined : requestSchemaFault(schema);
  return fault === undefined ? [] : [{ path: 'spec.request.schema', message: fault, reason: 'FieldValueInvalid' }];
}

export function imageProblems({ spec }: InferenceApp, namespace: string, images: ImagePolicy): Problem[] {
  return unitImages(spec).flatMap(({ path, image }) => {
    const why = images.refusal(namespace, image);
    return why === undefined ? [] : [forbidden(path, `${image} is not allowed in namespace ${namespace}: ${why}`)];
  });
}

/** Placements that exist and do not take apps of the namespace. Those that do not exist are a warning: they may be about to be made. */
export function placementProblems(
  { spec }: InferenceApp,
  namespace: string,
  placementOf: (name: string) => Placement | undefined,
): Problem[] {
  return (spec.placements ?? []).flatMap(({ name }, index) => {
    const placement = placementOf(name);
    if (placement === undefined || takes(placement, namespace)) return [];
    const message = `placement ${name} does not allow namespace ${namespace}; its spec.allowedNamespaces must name it`;
    return [forbidden(`${element('spec.placements', index)}.name`, message)];
  });
}

export function takes({ spec }: Placement, namespace: string): boolean {
  const allowed = spec.allowedNamespaces ?? [];
  return allowed.includes(namespace) || allowed.includes(ANY_NAMESPACE);
}
