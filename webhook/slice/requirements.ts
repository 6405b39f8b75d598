// SPDX-License-Identifier: Apache-2.0
// Node requirements of a sliced pod: that its node be of a kind for which the quota was reckoned, also a node that joins later; and
// that it be none of those that have the resource but cannot serve the pod.
import type { NodeRequirement } from './context.ts';
import type { GpuNode } from './inventory.ts';
import { pinsOf, valuesOf } from './kinds.ts';
import type { Share } from './kinds.ts';
import { labelOf, meets } from './node-match.ts';

/** By which nodes may be told apart: from the reason to the accident. */
const KEYS = ['count', 'replicas', 'sharing-strategy', 'memory', 'product'].map((name) => `nvidia.com/gpu.${name}`);
const HOSTNAME = 'kubernetes.io/hostname';

/** Requirements that all of `serving` and none of `others` meet; undefined where labels do not tell them apart. */
export function requirementsFor(
  serving: readonly GpuNode[],
  others: readonly GpuNode[],
  shares: readonly Share[],
): NodeRequirement[] | undefined {
  const requirements = pinsOf(serving, shares);
  let left = others.filter((node) => requirements.every((requirement) => isMet(requirement, node)));
  const add = (requirement: NodeRequirement): void => {
    const remaining = left.filter((node) => isMet(requirement, node));
    if (remaining.length === left.length) return;
    requirements.push(requirement);
    left = remaining;
  };
  for (const key of KEYS) {
    const values = left.length > 0 ? valuesOf(serving, key) : undefined;
    if (values !== undefined) add({ key, operator: 'In', values });
  }
  for (const key of [HOSTNAME, ...keysOfPeople(left), HOSTNAME]) {
    if (left.length === 0) break;
    const labelled = left.filter((node) => labelOf(node, key) !== undefined);
    const values = labelled.length > 0 ? valuesOf(labelled, key) : undefined;
    // What a node that can serve it has, too, tells nothing.
    const isTheirs = serving.every((node) => !values?.includes(labelOf(node, key) ?? ''));
    if (values !== undefined && isTheirs) add({ key, operator: 'NotIn', values });
  }
  return left.length === 0 ? requirements : undefined;
}

/** Where nodes are too many to be listed: labels by which Placements select them, and those that are named as their taints, as is usual. */
function keysOfPeople(nodes: readonly GpuNode[]): ReadonlySet<string> {
  return new Set(nodes.flatMap(({ selectedBy, taints }) => [...selectedBy, ...taints.map(({ key }) => key)]));
}

function isMet(requirement: NodeRequirement, node: GpuNode): boolean {
  return meets(requirement, labelOf(node, requirement.key));
}
