// SPDX-License-Identifier: Apache-2.0
// Node requirements that hold for some nodes and for none of some others, made of labels that say why they differ where possible:
// they then hold for nodes, too, that join later.
import type { NodeRequirement } from './context.ts';
import type { GpuNode } from './inventory.ts';

/** Labels of GPU feature discovery, from the reason to the accident. */
const KEYS = [
  'nvidia.com/gpu.count',
  'nvidia.com/gpu.replicas',
  'nvidia.com/gpu.sharing-strategy',
  'nvidia.com/gpu.memory',
  'nvidia.com/gpu.product',
];
const HOSTNAME = 'kubernetes.io/hostname';
/** A pod that lists more hosts than these is unwieldy for the scheduler and for people. */
const MAX_HOSTS = 64;

/** Requirements that all of `wanted` and none of `unwanted` meet; undefined where labels do not tell them apart. */
export function separate(wanted: readonly GpuNode[], unwanted: readonly GpuNode[]): NodeRequirement[] | undefined {
  const requirements: NodeRequirement[] = [];
  let left = unwanted;
  for (const key of KEYS) {
    if (left.length === 0) return requirements;
    const values = valuesOf(wanted, key);
    if (values === undefined) continue;
    const remaining = left.filter(({ labels }) => labels[key] !== undefined && values.includes(labels[key]));
    if (remaining.length === left.length) continue;
    requirements.push({ key, operator: 'In', values });
    left = remaining;
  }
  if (left.length === 0) return requirements;
  const hosts = valuesOf(left, HOSTNAME);
  const taken = new Set(wanted.map(({ labels }) => labels[HOSTNAME]));
  if (hosts === undefined || hosts.length > MAX_HOSTS || hosts.some((host) => taken.has(host))) return undefined;
  return [...requirements, { key: HOSTNAME, operator: 'NotIn', values: hosts }];
}

/** The values of a label, sorted; undefined where a node does not have it. */
function valuesOf(nodes: readonly GpuNode[], key: string): string[] | undefined {
  const values = new Set<string>();
  for (const { labels } of nodes) {
    const value = labels[key];
    if (value === undefined) return undefined;
    values.add(value);
  }
  return values.size > MAX_HOSTS ? undefined : [...values].sort();
}
