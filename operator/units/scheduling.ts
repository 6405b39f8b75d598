// SPDX-License-Identifier: Apache-2.0
import type { InferenceAppGpu } from '#crds/inference-app.gen.ts';
import type { PlacementKubernetes, PlacementMatchExpression, PlacementNodeAffinity } from '#crds/placement.gen.ts';
import { GPU } from '#crds/names.ts';
import type { PodSpec } from './objects.ts';

/** Weight of the first selector's preference; each later one weighs less (Kubernetes allows 1 … 100, selectors are at most 16). */
const FIRST_WEIGHT = 100;
const WEIGHT_STEP = 6;

type Term = { matchExpressions: PlacementMatchExpression[] };
type Scheduling = Pick<PodSpec, 'nodeSelector' | 'affinity' | 'tolerations' | 'runtimeClassName'>;

/** Where the pod may go: what the GPU needs and what the placement says, both to be met. */
export function scheduling(gpu: InferenceAppGpu | undefined, placement: PlacementKubernetes): Scheduling {
  const spec: Scheduling = {};
  if (gpu?.type !== undefined) spec.nodeSelector = { [GPU.typeLabel]: gpu.type };
  // GPU nodes are commonly tainted with the resource's name so that other pods stay away.
  const forGpu = gpu === undefined ? [] : [{ key: GPU.resource, operator: 'Exists', effect: 'NoSchedule' }];
  const tolerations = [...forGpu, ...(placement.tolerations ?? [])];
  if (tolerations.length > 0) spec.tolerations = tolerations;
  const nodeAffinity = affinityOf(placement);
  if (nodeAffinity !== undefined) spec.affinity = { nodeAffinity };
  if (placement.runtimeClassName !== undefined) spec.runtimeClassName = placement.runtimeClassName;
  return spec;
}

/** nodeSelectors are alternatives in order of preference; they and the affinity's own required terms must both hold. */
function affinityOf(placement: PlacementKubernetes): PlacementNodeAffinity | undefined {
  const own = placement.affinity?.nodeAffinity;
  const selectors = (placement.nodeSelectors ?? []).map(toTerm).filter((term) => term.matchExpressions.length > 0);
  if (selectors.length === 0) return own;
  // An empty selector matches every node: the others then only say what is preferred.
  const anyNode = selectors.length < (placement.nodeSelectors ?? []).length;
  const required = own?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;
  const terms = anyNode ? required : both(selectors, required);
  const preferred = selectors.map((preference, index) => ({ weight: FIRST_WEIGHT - WEIGHT_STEP * index, preference }));
  return {
    ...(terms === undefined ? {} : { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms } }),
    preferredDuringSchedulingIgnoredDuringExecution: [
      ...preferred,
      ...(own?.preferredDuringSchedulingIgnoredDuringExecution ?? []),
    ],
  };
}

/** (a or b) and (c or d) as alternatives: at most 16 × 16 terms by the schema. */
function both(left: readonly Term[], right: readonly Term[] | undefined): Term[] {
  if (right === undefined) return [...left];
  return left.flatMap((a) => right.map((b) => ({ matchExpressions: [...a.matchExpressions, ...b.matchExpressions] })));
}

function toTerm(labels: Readonly<Record<string, string>>): Term {
  const expressions = Object.entries(labels).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return { matchExpressions: expressions.map(([key, value]) => ({ key, operator: 'In', values: [value] })) };
}
