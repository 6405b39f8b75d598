// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import type { Placement } from '#crds/placement.gen.ts';
import { REASONS } from '#crds/names.ts';
import type { Reason } from '#crds/names.ts';
import { requestSchemaFault } from '#crds/request-schema.ts';
import type { PlacementChoice } from './types.ts';

/**
 * Placement of apps that list none. It is an ordinary Placement that an administrator makes and opens to namespaces: without one,
 * no app runs anywhere just because it asked for nothing.
 */
export const DEFAULT_PLACEMENT = 'default';

/** Allows every namespace. */
const ANY_NAMESPACE = '*';

interface Refusal {
  readonly reason: Reason;
  readonly message: string;
}

/** Why a placement takes no units of anybody, or undefined: the reason of its state Misconfigured. */
export function placementProblem(placement: Placement): string | undefined {
  if ((placement.spec.allowedNamespaces ?? []).length === 0) {
    return "spec.allowedNamespaces is empty, so no app may use this placement; list namespaces, or '*' for all";
  }
  return undefined;
}

/**
 * The first listed placement that exists and allows the app's namespace. The others are reported as unsupported, by path: this
 * version walks no candidates. A listed placement that is skipped over is named in the message when none is left.
 */
export function choosePlacement(app: InferenceApp, placements: ReadonlyMap<string, Placement>): PlacementChoice {
  const listed = app.spec.placements ?? [];
  const names = listed.length === 0 ? [DEFAULT_PLACEMENT] : listed.map((entry) => entry.name);
  const namespace = app.metadata.namespace ?? '';
  const refusals: Refusal[] = [];
  for (const [index, name] of names.entries()) {
    const placement = placements.get(name);
    const refusal = refusalOf(name, placement, namespace);
    if (refusal !== undefined || placement === undefined) {
      if (refusal !== undefined) refusals.push(refusal);
      continue;
    }
    const { scheduleGraceSeconds } = placement.spec;
    return { kind: 'chosen', name, scheduleGraceSeconds, unsupported: unsupportedFields(app, index) };
  }
  return { kind: 'none', ...joined(refusals, listed.length === 0), unsupported: unsupportedFields(app, undefined) };
}

function refusalOf(name: string, placement: Placement | undefined, namespace: string): Refusal | undefined {
  if (placement === undefined)
    return { reason: REASONS.placementNotFound, message: `placement ${name} does not exist` };
  if (placement.metadata.deletionTimestamp !== undefined) {
    return { reason: REASONS.placementNotOpen, message: `placement ${name} is being deleted` };
  }
  const allowed = placement.spec.allowedNamespaces ?? [];
  if (allowed.includes(namespace) || allowed.includes(ANY_NAMESPACE)) return undefined;
  return { reason: REASONS.namespaceNotAllowed, message: `placement ${name} does not allow namespace ${namespace}` };
}

function joined(refusals: readonly Refusal[], noneListed: boolean): Refusal {
  const why = refusals.map((refusal) => refusal.message).join('; ');
  if (noneListed) {
    const fix = `spec.placements is empty and there is no usable placement called ${DEFAULT_PLACEMENT}`;
    return { reason: REASONS.noPlacement, message: `${fix}: ${why}` };
  }
  return { reason: refusals[0]?.reason ?? REASONS.noPlacement, message: why };
}

/** Paths of fields that are accepted but not acted on in a cluster. */
function unsupportedFields(app: InferenceApp, chosen: number | undefined): string[] {
  const { worker, request, placements = [] } = app.spec;
  const paths = placements.flatMap((entry, index) => {
    if (index !== (chosen ?? 0)) return [`spec.placements[${index}]`];
    const instances = worker.archetype === 'Sidecar' && (entry.overrides?.instances ?? 1) > 1;
    return instances ? [`spec.placements[${index}].overrides.instances`] : [];
  });
  // One model server per unit: the schema says so, and copies would fight for its port.
  if (worker.archetype === 'Sidecar' && worker.instances > 1) paths.push('spec.worker.instances');
  // The API server looks into no preserved field; the gateway refuses requests by the same verdict.
  if (request.schema !== undefined && requestSchemaFault(request.schema) !== undefined)
    paths.push('spec.request.schema');
  return paths;
}
