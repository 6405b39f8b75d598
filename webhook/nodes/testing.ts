// SPDX-License-Identifier: Apache-2.0
// Nodes as the API server shows them, with labels as GPU feature discovery v0.17 writes them, for table tests.
import type { SharedOffer } from '../slice/inventory.ts';
import { toGpuNode } from './gpu-node.ts';
import { toNodeFacts } from './node-facts.ts';
import type { NodeSettings } from './node-view.ts';
import { indexPlacements } from './placement-index.ts';
import type { PlacementSharing, SharedResource } from './sharing.ts';

export const MIB = 2 ** 20;
export const H100 = 81_559;
export const A100 = 81_920;

export interface Case {
  readonly labels?: Record<string, string>;
  readonly capacity?: Record<string, string>;
  /** Default: the capacity. */
  readonly allocatable?: Record<string, string>;
  readonly sharedResources?: readonly SharedResource[];
  readonly placements?: readonly PlacementSharing[];
  readonly gpuResource?: string;
  /** Absent: no node with GPUs. */
  readonly cards?: number;
  readonly cardMemory?: number;
  readonly offers?: readonly Partial<SharedOffer>[];
  readonly findings?: readonly string[];
}

export const aPlacement = (over: Partial<PlacementSharing>): PlacementSharing => ({
  placement: 'p',
  nodeSelectors: [],
  mode: 'TimeSlicing',
  ...over,
});

export function card(fields: Record<string, string | number>, resource = 'nvidia.com/gpu'): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [`${resource}.${key}`, String(value)]));
}

export function assess({
  labels = {},
  capacity = {},
  allocatable = capacity,
  sharedResources = [],
  placements = [],
  gpuResource,
}: Case) {
  const ordinary = { cpu: '64', memory: '263840956Ki', pods: '110', 'ephemeral-storage': '1Ti', 'hugepages-2Mi': '0' };
  const facts = toNodeFacts({
    metadata: { name: 'gpu-1', uid: 'u', resourceVersion: '1', labels: { 'kubernetes.io/arch': 'amd64', ...labels } },
    spec: { taints: [{ key: 'nvidia.com/gpu', effect: 'NoSchedule' }] },
    status: { capacity: { ...ordinary, ...capacity }, allocatable: { ...ordinary, ...allocatable } },
  } as never);
  const settings: NodeSettings = { gpuResource: gpuResource ?? 'nvidia.com/gpu', sharedResources };
  return toGpuNode(facts, settings, indexPlacements(placements));
}

/** Two cards as four slots each, renamed. */
export const shared4 = card({
  count: 2,
  memory: H100,
  product: 'NVIDIA-H100-80GB-HBM3',
  replicas: 4,
  'sharing-strategy': 'time-slicing',
});
export const quarter = Math.floor((H100 * MIB) / 4);

/** What a table's row is about, as it is … */
export function seen(wanted: Case): object {
  const { node, findings } = assess(wanted);
  const tooMuch = node?.shared.filter(
    ({ mode, slotsPerGPU, memoryPerSlot }) => mode !== 'MIG' && slotsPerGPU * memoryPerSlot > node.cardMemory,
  );
  return {
    node,
    offers: node?.shared.length ?? 0,
    findings: findings.map(({ reason }) => reason),
    tooMuch: tooMuch ?? [],
  };
}

/** … and as it is to be. Whatever is said: the slots of a card never have more than the card. */
export function wantedOf({ cards, cardMemory, offers = [], findings = [] }: Case): object {
  const about = { name: 'gpu-1', unschedulable: false, taints: [{ key: 'nvidia.com/gpu', effect: 'NoSchedule' }] };
  const node = { ...about, cards, shared: offers, ...(cardMemory === undefined ? {} : { cardMemory }) };
  return { node: cards === undefined ? undefined : node, offers: offers.length, findings, tooMuch: [] };
}
