// SPDX-License-Identifier: Apache-2.0
// Node requirements of a sliced pod: that its node be of a kind for which the quota was reckoned, also a node that joins later; and
// that it be none of those that have the resource but cannot serve the pod.
import type { Grant } from './choose.ts';
import type { NodeRequirement } from './context.ts';
import type { GpuNode } from './inventory.ts';
import { meets } from './node-match.ts';

/** Labels of GPU feature discovery. */
const COUNT = 'nvidia.com/gpu.count';
const REPLICAS = 'nvidia.com/gpu.replicas';
const MEMORY = 'nvidia.com/gpu.memory';
/** By which nodes may be told apart: from the reason to the accident. */
const KEYS = [COUNT, REPLICAS, 'nvidia.com/gpu.sharing-strategy', MEMORY, 'nvidia.com/gpu.product'];
const HOSTNAME = 'kubernetes.io/hostname';
/** A pod that lists more than these is unwieldy for the scheduler and for people. */
const MAX_VALUES = 64;

/**
 * Requirements that all of `serving` and none of `others` meet; undefined where labels do not tell them apart. A label that not all
 * of `serving` have pins nothing.
 */
export function requirementsFor(
  serving: readonly GpuNode[],
  others: readonly GpuNode[],
  grants: readonly Pick<Grant, 'slots'>[],
): NodeRequirement[] | undefined {
  const requirements = pins(serving, grants);
  let left = others.filter((node) =>
    requirements.every((requirement) => meets(requirement, node.labels[requirement.key])),
  );
  for (const key of KEYS) {
    const values = left.length > 0 ? valuesOf(serving, key) : undefined;
    if (values === undefined) continue;
    const remaining = left.filter(({ labels }) => labels[key] !== undefined && values.includes(labels[key]));
    if (remaining.length === left.length) continue;
    requirements.push({ key, operator: 'In', values });
    left = remaining;
  }
  if (left.length === 0) return requirements;
  const hosts = valuesOf(left, HOSTNAME);
  const taken = new Set(serving.map(({ labels }) => labels[HOSTNAME]));
  if (hosts === undefined || hosts.some((host) => taken.has(host))) return undefined;
  return [...requirements, { key: HOSTNAME, operator: 'NotIn', values: hosts }];
}

/** A slot is no smaller on other nodes: they are split into as many, their cards have as much memory, and as many of them count. */
function pins(serving: readonly GpuNode[], grants: readonly Pick<Grant, 'slots'>[]): NodeRequirement[] {
  const found: NodeRequirement[] = [];
  const replicas = valuesOf(serving, REPLICAS);
  if (replicas !== undefined) found.push({ key: REPLICAS, operator: 'In', values: replicas });
  const memory = valuesOf(serving, MEMORY)?.map(Number);
  if (memory?.every((mebibytes) => Number.isSafeInteger(mebibytes) && mebibytes > 0)) {
    found.push({ key: MEMORY, operator: 'Gt', values: [String(Math.min(...memory) - 1)] });
  }
  // Several slots of one card are sure where there is one; several nodes with more have a plugin that packs.
  const oneCard = grants.some(({ slots }) => slots > 1) && serving.some(({ cards }) => cards === 1);
  const counts = oneCard ? valuesOf(serving, COUNT) : undefined;
  if (counts !== undefined) found.push({ key: COUNT, operator: 'In', values: counts });
  return found;
}

/** The values of a label, sorted; undefined where a node does not have it, or they are too many. */
function valuesOf(nodes: readonly GpuNode[], key: string): string[] | undefined {
  const values = new Set<string>();
  for (const { labels } of nodes) {
    const value = labels[key];
    if (value === undefined) return undefined;
    values.add(value);
  }
  return values.size > MAX_VALUES ? undefined : [...values].sort();
}
