// SPDX-License-Identifier: Apache-2.0
// Nodes as the API server shows them, with labels as GPU feature discovery v0.17 writes them.
import { describe, expect, test } from 'vitest';
import type { SharedOffer } from '../slice/inventory.ts';
import { toGpuNode } from './gpu-node.ts';
import { toNodeFacts } from './node-facts.ts';
import type { NodeSettings } from './node-view.ts';
import type { PlacementSharing, SharedResource } from './sharing.ts';

const MIB = 2 ** 20;
const H100 = 81_559;
const A100 = 81_920;

interface Case {
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

const aPlacement = (over: Partial<PlacementSharing>): PlacementSharing => ({
  placement: 'p',
  nodeSelectors: [],
  mode: 'TimeSlicing',
  ...over,
});

function card(fields: Record<string, string | number>, resource = 'nvidia.com/gpu'): Record<string, string> {
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [`${resource}.${key}`, String(value)]));
}

function assess({
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
  return toGpuNode(facts, settings, placements);
}

const shared4 = card({
  count: 2,
  memory: H100,
  product: 'NVIDIA-H100-80GB-HBM3',
  replicas: 4,
  'sharing-strategy': 'time-slicing',
});
const quarter = Math.floor((H100 * MIB) / 4);

const LABELLED: Record<string, Case> = {
  'a node without GPUs is none': { capacity: { 'vpc.amazonaws.com/pod-eni': '9' } },
  'a node with whole GPUs offers nothing': {
    labels: card({ count: 8, memory: H100, product: 'NVIDIA-H100-80GB-HBM3', replicas: 1, 'sharing-strategy': 'none' }),
    capacity: { 'nvidia.com/gpu': '8' },
    cards: 8,
    cardMemory: H100 * MIB,
    offers: [],
  },
  'a node without labels has as many cards as it advertises': {
    capacity: { 'nvidia.com/gpu': '2' },
    cards: 2,
    cardMemory: 0,
    offers: [],
  },
  'time-slicing, renamed': {
    labels: shared4,
    capacity: { 'nvidia.com/gpu.shared': '8', 'nvidia.com/gpu': '0' },
    cards: 2,
    cardMemory: H100 * MIB,
    offers: [
      {
        resource: 'nvidia.com/gpu.shared',
        mode: 'TimeSlicing',
        slotsPerGPU: 4,
        memoryPerSlot: quarter,
        allocatable: 8,
        refusesMultiple: false,
        onOneCard: false,
      },
    ],
  },
  'time-slicing, not renamed: the product says so': {
    labels: card({
      count: 1,
      memory: 15_360,
      product: 'Tesla-T4-SHARED',
      replicas: 10,
      'sharing-strategy': 'time-slicing',
    }),
    capacity: { 'nvidia.com/gpu': '10' },
    cards: 1,
    offers: [{ resource: 'nvidia.com/gpu', slotsPerGPU: 10, memoryPerSlot: 1536 * MIB, onOneCard: true }],
  },
  'time-slicing, not renamed, and no product to tell': {
    labels: card({ count: 1, memory: 15_360, replicas: 10 }),
    capacity: { 'nvidia.com/gpu': '10' },
    cards: 1,
    offers: [{ resource: 'nvidia.com/gpu', slotsPerGPU: 10, mode: 'TimeSlicing', refusesMultiple: false }],
  },
  'a discovery older than the label of the strategy knows time-slicing only': {
    labels: card({ count: 1, memory: 15_360, product: 'Tesla-T4', replicas: 2 }),
    capacity: { 'nvidia.com/gpu.shared': '2' },
    cards: 1,
    offers: [{ resource: 'nvidia.com/gpu.shared', mode: 'TimeSlicing', refusesMultiple: false }],
  },
  'MPS refuses more than one unit': {
    labels: card({ count: 1, memory: 24_576, product: 'NVIDIA-A10G', replicas: 3, 'sharing-strategy': 'mps' }),
    capacity: { 'nvidia.com/gpu.shared': '3' },
    cards: 1,
    offers: [{ mode: 'MPS', slotsPerGPU: 3, memoryPerSlot: 8192 * MIB, refusesMultiple: true, onOneCard: true }],
  },
  'a sick card takes units away, but the others are split as before': {
    labels: shared4,
    capacity: { 'nvidia.com/gpu.shared': '8' },
    allocatable: { 'nvidia.com/gpu.shared': '4' },
    cards: 2,
    offers: [{ slotsPerGPU: 4, allocatable: 4 }],
  },
  'nothing allocatable, no offer': {
    labels: shared4,
    capacity: { 'nvidia.com/gpu.shared': '8' },
    allocatable: { 'nvidia.com/gpu.shared': '0' },
    cards: 2,
    offers: [],
  },
  'a thousand units are written 1k': {
    labels: card({ count: 1, memory: 80_000, product: 'X', replicas: 1000 }),
    capacity: { 'nvidia.com/gpu.shared': '1k' },
    cards: 1,
    offers: [{ slotsPerGPU: 1000, allocatable: 1000, memoryPerSlot: 80 * MIB }],
  },
  'Windows can not load the library': {
    labels: { ...shared4, 'kubernetes.io/os': 'windows' },
    capacity: { 'nvidia.com/gpu.shared': '8' },
    cards: 2,
    offers: [],
  },
  'another name for whole GPUs': {
    labels: shared4,
    capacity: { 'example.com/gpu.shared': '8' },
    gpuResource: 'example.com/gpu',
    cards: 2,
    offers: [{ resource: 'example.com/gpu.shared', slotsPerGPU: 4 }],
  },
};

const MIG_PARENT = card({
  count: 2,
  memory: A100,
  product: 'NVIDIA-A100-SXM4-80GB',
  replicas: 0,
  'sharing-strategy': 'none',
});
const profile = (name: string, memory: number, count: number, more: Record<string, string | number> = {}) =>
  card(
    { count, memory, product: `NVIDIA-A100-SXM4-80GB-MIG-${name}`, replicas: 1, 'sharing-strategy': 'none', ...more },
    `nvidia.com/mig-${name}`,
  );

const MIG: Record<string, Case> = {
  'MIG mixed: a resource for each profile': {
    labels: {
      ...MIG_PARENT,
      'nvidia.com/mig.strategy': 'mixed',
      ...profile('1g.10gb', 9_728, 4),
      ...profile('3g.40gb', 40_192, 2),
    },
    capacity: { 'nvidia.com/gpu': '0', 'nvidia.com/mig-1g.10gb': '4', 'nvidia.com/mig-3g.40gb': '2' },
    cards: 2,
    cardMemory: A100 * MIB,
    offers: [
      {
        resource: 'nvidia.com/mig-1g.10gb',
        mode: 'MIG',
        slotsPerGPU: 7,
        memoryPerSlot: 9_728 * MIB,
        allocatable: 4,
        refusesMultiple: true,
        onOneCard: true,
      },
      { resource: 'nvidia.com/mig-3g.40gb', mode: 'MIG', slotsPerGPU: 2, memoryPerSlot: 40_192 * MIB, allocatable: 2 },
    ],
  },
  'MIG mixed: media extensions, and an instance of the whole card': {
    labels: { ...MIG_PARENT, ...profile('1g.10gb.me', 9_728, 1), ...profile('7g.80gb', 81_152, 1) },
    capacity: { 'nvidia.com/mig-1g.10gb.me': '1', 'nvidia.com/mig-7g.80gb': '1' },
    cards: 2,
    offers: [
      { resource: 'nvidia.com/mig-1g.10gb.me', memoryPerSlot: 9_728 * MIB },
      { resource: 'nvidia.com/mig-7g.80gb', slotsPerGPU: 1 },
    ],
  },
  'MIG mixed: compute instances share the memory of their GPU instance': {
    labels: { ...MIG_PARENT, ...profile('1c.3g.40gb', 40_192, 6) },
    capacity: { 'nvidia.com/mig-1c.3g.40gb': '6' },
    cards: 2,
    offers: [{ resource: 'nvidia.com/mig-1c.3g.40gb', memoryPerSlot: Math.floor((40_192 * MIB) / 3) }],
  },
  'MIG mixed with time-slicing: each instance is shared once more': {
    labels: { ...MIG_PARENT, ...profile('1g.10gb', 9_728, 4, { replicas: 2, 'sharing-strategy': 'time-slicing' }) },
    capacity: { 'nvidia.com/mig-1g.10gb.shared': '8' },
    cards: 2,
    offers: [
      { resource: 'nvidia.com/mig-1g.10gb.shared', slotsPerGPU: 14, memoryPerSlot: 4_864 * MIB, refusesMultiple: true },
    ],
  },
  'MIG mixed beside whole cards that are time-sliced': {
    labels: {
      ...card({
        count: 2,
        memory: A100,
        product: 'NVIDIA-A100-SXM4-80GB',
        replicas: 4,
        'sharing-strategy': 'time-slicing',
      }),
      ...profile('1g.10gb', 9_728, 7),
    },
    capacity: { 'nvidia.com/gpu.shared': '4', 'nvidia.com/mig-1g.10gb': '7' },
    cards: 2,
    offers: [
      { resource: 'nvidia.com/gpu.shared', slotsPerGPU: 4, onOneCard: false },
      { resource: 'nvidia.com/mig-1g.10gb', slotsPerGPU: 7 },
    ],
  },
  'MIG mixed without memory labels is not used': {
    labels: MIG_PARENT,
    capacity: { 'nvidia.com/mig-1g.10gb': '7' },
    cards: 2,
    offers: [],
    findings: ['MemoryUnknown'],
  },
  'MIG mixed without memory labels, but somebody says how much': {
    labels: MIG_PARENT,
    capacity: { 'nvidia.com/mig-1g.10gb': '7' },
    sharedResources: [{ name: 'nvidia.com/mig-1g.10gb', memoryPerSlot: 9_000 * MIB }],
    cards: 2,
    offers: [{ resource: 'nvidia.com/mig-1g.10gb', memoryPerSlot: 9_000 * MIB }],
  },
  'MIG mixed: more is said than an instance has': {
    labels: { ...MIG_PARENT, ...profile('1g.10gb', 9_728, 7) },
    capacity: { 'nvidia.com/mig-1g.10gb': '7' },
    placements: [aPlacement({ mode: 'MIG', memoryPerSlot: 10_240 * MIB })],
    cards: 2,
    offers: [{ memoryPerSlot: 9_728 * MIB }],
    findings: ['MemoryAboveCard'],
  },
  'MIG mixed with more units than instances × replicas': {
    labels: { ...MIG_PARENT, ...profile('1g.10gb', 9_728, 4, { replicas: 2 }) },
    capacity: { 'nvidia.com/mig-1g.10gb': '12' },
    cards: 2,
    offers: [],
    findings: ['MoreUnitsThanSlots'],
  },
  'MIG single: instances are what GPUs are there': {
    labels: card({
      count: 14,
      memory: 9_728,
      product: 'NVIDIA-A100-SXM4-80GB-MIG-1g.10gb',
      replicas: 1,
      'sharing-strategy': 'none',
      'slices.gi': 1,
    }),
    capacity: { 'nvidia.com/gpu': '14' },
    cards: 14,
    cardMemory: 9_728 * MIB,
    offers: [
      { resource: 'nvidia.com/gpu', mode: 'MIG', slotsPerGPU: 1, memoryPerSlot: 9_728 * MIB, refusesMultiple: true },
    ],
  },
  'MIG single with time-slicing is time-slicing of small cards': {
    labels: card({
      count: 14,
      memory: 9_728,
      product: 'NVIDIA-A100-SXM4-80GB-MIG-1g.10gb-SHARED',
      replicas: 2,
      'sharing-strategy': 'time-slicing',
    }),
    capacity: { 'nvidia.com/gpu': '28' },
    cards: 14,
    cardMemory: 9_728 * MIB,
    offers: [{ resource: 'nvidia.com/gpu', mode: 'TimeSlicing', slotsPerGPU: 2, memoryPerSlot: 4_864 * MIB }],
  },
  'MIG single of cards that are not alike': {
    labels: card({ count: 0, memory: 0, product: 'NVIDIA-A100-SXM4-80GB-MIG-INVALID', replicas: 0 }),
    capacity: { 'nvidia.com/gpu': '3' },
    cards: 3,
    offers: [],
    findings: ['MigInvalid'],
  },
};

const STATED: Record<string, Case> = {
  'a plugin that refuses more than one unit, and one that packs': {
    labels: shared4,
    capacity: { 'nvidia.com/gpu.shared': '8' },
    sharedResources: [{ name: 'nvidia.com/gpu.shared', failRequestsGreaterThanOne: true, packsOnOneCard: true }],
    cards: 2,
    offers: [{ refusesMultiple: true, onOneCard: true, mode: 'TimeSlicing' }],
  },
  'a resource of another plugin, stated in full': {
    capacity: { 'example.com/gpu-part': '16' },
    sharedResources: [{ name: 'example.com/gpu-part', slotsPerGPU: 8, memoryPerSlot: 1024 * MIB }],
    cards: 2,
    cardMemory: 8 * 1024 * MIB,
    offers: [{ resource: 'example.com/gpu-part', slotsPerGPU: 8, memoryPerSlot: 1024 * MIB, onOneCard: false }],
  },
  'a Placement says what labels do not': {
    capacity: { 'nvidia.com/gpu.shared': '4' },
    placements: [aPlacement({ slotsPerGPU: 4, memoryPerSlot: 4096 * MIB })],
    cards: 1,
    offers: [{ slotsPerGPU: 4, memoryPerSlot: 4096 * MIB, onOneCard: true }],
  },
  'a Placement makes whole GPUs shared ones by name': {
    labels: card({ count: 1, memory: 16_384, product: 'Tesla-T4' }),
    capacity: { 'nvidia.com/gpu': '4' },
    placements: [aPlacement({ resourceName: 'nvidia.com/gpu', slotsPerGPU: 4 })],
    cards: 1,
    offers: [{ resource: 'nvidia.com/gpu', slotsPerGPU: 4, memoryPerSlot: 4096 * MIB }],
  },
  'a Placement wins over the settings': {
    capacity: { 'nvidia.com/gpu.shared': '4' },
    sharedResources: [{ name: 'nvidia.com/gpu.shared', slotsPerGPU: 2, memoryPerSlot: 8192 * MIB }],
    placements: [aPlacement({ slotsPerGPU: 4, memoryPerSlot: 4096 * MIB })],
    cards: 1,
    offers: [{ slotsPerGPU: 4, memoryPerSlot: 4096 * MIB }],
  },
  'a Placement of other nodes says nothing': {
    labels: shared4,
    capacity: { 'nvidia.com/gpu.shared': '8' },
    placements: [aPlacement({ nodeSelectors: [{ pool: 'b' }], memoryPerSlot: 1024 * MIB })],
    cards: 2,
    offers: [{ memoryPerSlot: quarter }],
  },
  'one of several selectors is enough': {
    labels: { ...shared4, pool: 'a', zone: 'x' },
    capacity: { 'nvidia.com/gpu.shared': '8' },
    placements: [aPlacement({ nodeSelectors: [{ pool: 'b' }, { pool: 'a', zone: 'x' }], memoryPerSlot: 1024 * MIB })],
    cards: 2,
    offers: [{ memoryPerSlot: 1024 * MIB }],
  },
  'less memory for a slot than the card would have is kept': {
    labels: shared4,
    capacity: { 'nvidia.com/gpu.shared': '8' },
    sharedResources: [{ name: 'nvidia.com/gpu.shared', memoryPerSlot: 10_240 * MIB }],
    cards: 2,
    cardMemory: H100 * MIB,
    offers: [{ slotsPerGPU: 4, memoryPerSlot: 10_240 * MIB }],
  },
  'an Exclusive Placement takes its nodes out': {
    labels: { ...shared4, pool: 'a' },
    capacity: { 'nvidia.com/gpu.shared': '8' },
    placements: [aPlacement({ mode: 'Exclusive', nodeSelectors: [{ pool: 'a' }] })],
    cards: 2,
    offers: [],
    findings: ['ExclusivePlacement'],
  },
  'an Exclusive Placement of any node says nothing about this one': {
    labels: shared4,
    capacity: { 'nvidia.com/gpu.shared': '8' },
    placements: [aPlacement({ mode: 'Exclusive' })],
    cards: 2,
    offers: [{ slotsPerGPU: 4 }],
  },
};

const CONTRADICTORY: Record<string, Case> = {
  'no labels for a shared resource': {
    capacity: { 'nvidia.com/gpu.shared': '8' },
    cards: 1,
    offers: [],
    findings: ['SlotsUnknown'],
  },
  'slots without memory': {
    labels: card({ count: 1, product: 'NVIDIA-GB10', replicas: 4 }),
    capacity: { 'nvidia.com/gpu.shared': '4' },
    cards: 1,
    offers: [],
    findings: ['MemoryUnknown'],
  },
  'labels that are no numbers count as absent': {
    labels: card({ count: 'two', memory: '-5', product: 'X', replicas: 4 }),
    capacity: { 'nvidia.com/gpu.shared': '4' },
    cards: 1,
    offers: [],
    findings: ['BadLabel', 'BadLabel', 'MemoryUnknown'],
  },
  'a number that no card has': {
    labels: card({ count: 1, memory: '9999999999', product: 'X', replicas: 4 }),
    capacity: { 'nvidia.com/gpu.shared': '4' },
    cards: 1,
    offers: [],
    findings: ['BadLabel', 'MemoryUnknown'],
  },
  'cards of two models: the labels speak of one': {
    labels: card({ count: 4, memory: A100, product: 'NVIDIA-A100-SXM4-80GB', replicas: 4 }),
    capacity: { 'nvidia.com/gpu.shared': '32' },
    cards: 4,
    offers: [],
    findings: ['MoreUnitsThanSlots'],
  },
  'cards of two models, and somebody vouches for the smallest': {
    labels: card({ count: 4, memory: A100, product: 'NVIDIA-A100-SXM4-80GB', replicas: 4 }),
    capacity: { 'nvidia.com/gpu.shared': '32' },
    sharedResources: [{ name: 'nvidia.com/gpu.shared', slotsPerGPU: 4, memoryPerSlot: 3840 * MIB }],
    cards: 8,
    offers: [{ slotsPerGPU: 4, memoryPerSlot: 3840 * MIB, onOneCard: false }],
  },
  'two cards of two models are not one card': {
    labels: card({ count: 1, memory: A100, product: 'NVIDIA-A100-SXM4-80GB', replicas: 4 }),
    capacity: { 'nvidia.com/gpu.shared': '8' },
    sharedResources: [{ name: 'nvidia.com/gpu.shared', slotsPerGPU: 4, memoryPerSlot: 3840 * MIB }],
    cards: 2,
    offers: [{ onOneCard: false }],
  },
  'labels promise slots that the plugin does not advertise yet': {
    labels: card({ count: 2, memory: A100, product: 'NVIDIA-A100-SXM4-80GB-SHARED', replicas: 4 }),
    capacity: { 'nvidia.com/gpu': '2' },
    cards: 2,
    offers: [],
    findings: ['FewerUnitsThanSlots'],
  },
  'fewer slots are stated than the plugin makes': {
    labels: shared4,
    capacity: { 'nvidia.com/gpu.shared': '8' },
    placements: [aPlacement({ slotsPerGPU: 2, memoryPerSlot: 40_000 * MIB })],
    cards: 2,
    offers: [{ slotsPerGPU: 4, memoryPerSlot: quarter }],
    findings: ['SlotsDisagree', 'MemoryAboveCard'],
  },
  'more slots are stated than the plugin makes': {
    labels: shared4,
    capacity: { 'nvidia.com/gpu.shared': '8' },
    placements: [aPlacement({ slotsPerGPU: 8 })],
    cards: 2,
    offers: [{ slotsPerGPU: 8, memoryPerSlot: Math.floor((H100 * MIB) / 8) }],
    findings: ['SlotsDisagree'],
  },
  'more memory is stated than the card has': {
    labels: shared4,
    capacity: { 'nvidia.com/gpu.shared': '8' },
    sharedResources: [{ name: 'nvidia.com/gpu.shared', memoryPerSlot: 80_000 * MIB }],
    cards: 2,
    offers: [{ memoryPerSlot: quarter }],
    findings: ['MemoryAboveCard'],
  },
  'a mode that the labels deny: the plugin of the labels refuses': {
    labels: card({ count: 1, memory: 24_576, product: 'NVIDIA-A10G', replicas: 3, 'sharing-strategy': 'mps' }),
    capacity: { 'nvidia.com/gpu.shared': '3' },
    placements: [aPlacement({ mode: 'TimeSlicing' })],
    cards: 1,
    offers: [{ mode: 'TimeSlicing', refusesMultiple: true }],
    findings: ['ModesDisagree'],
  },
  'replicas, but a strategy of none': {
    labels: card({ count: 1, memory: 24_576, product: 'NVIDIA-A10G', replicas: 3, 'sharing-strategy': 'none' }),
    capacity: { 'nvidia.com/gpu.shared': '3' },
    cards: 1,
    offers: [{ mode: 'TimeSlicing', refusesMultiple: true }],
    findings: ['StrategyUnclear'],
  },
  'two Placements: the least generous of each holds': {
    capacity: { 'nvidia.com/gpu.shared': '8' },
    placements: [
      aPlacement({ placement: 'a', mode: 'MPS', slotsPerGPU: 4, memoryPerSlot: 2048 * MIB }),
      aPlacement({ placement: 'b', slotsPerGPU: 8, memoryPerSlot: 4096 * MIB }),
    ],
    cards: 1,
    offers: [{ mode: 'MPS', slotsPerGPU: 8, memoryPerSlot: 2048 * MIB, refusesMultiple: true }],
    findings: ['PlacementsDisagree', 'PlacementsDisagree', 'PlacementsDisagree'],
  },
  'Placements that agree are no contradiction': {
    capacity: { 'nvidia.com/gpu.shared': '4' },
    placements: [
      aPlacement({ placement: 'a', slotsPerGPU: 4, memoryPerSlot: 4096 * MIB }),
      aPlacement({ placement: 'b', slotsPerGPU: 4 }),
    ],
    cards: 1,
    offers: [{ slotsPerGPU: 4, memoryPerSlot: 4096 * MIB }],
  },
};

describe.each([
  ['labels of GPU feature discovery', LABELLED],
  ['MIG', MIG],
  ['what people state', STATED],
  ['contradictions get the careful answer', CONTRADICTORY],
])('%s', (_group, cases) => {
  test.each(Object.entries(cases))('%s', (_name, wanted) => {
    const { node, findings } = assess(wanted);
    expect(findings.map(({ reason }) => reason)).toEqual(wanted.findings ?? []);
    if (wanted.cards === undefined) return expect(node).toBeUndefined();
    expect(node).toMatchObject({ name: 'gpu-1', cards: wanted.cards, unschedulable: false });
    expect(node?.taints).toEqual([{ key: 'nvidia.com/gpu', effect: 'NoSchedule' }]);
    if (wanted.cardMemory !== undefined) expect(node?.cardMemory).toBe(wanted.cardMemory);
    expect(node?.shared).toHaveLength(wanted.offers?.length ?? 0);
    expect(node?.shared).toMatchObject(wanted.offers ?? []);
    // Whatever is said: the slots of a card never have more than the card.
    for (const { mode, slotsPerGPU, memoryPerSlot } of node?.shared ?? []) {
      if (mode !== 'MIG' && node) expect(slotsPerGPU * memoryPerSlot).toBeLessThanOrEqual(node.cardMemory);
    }
  });
});

test('every finding says what it saw and names the node’s resource or label', () => {
  for (const wanted of Object.values(CONTRADICTORY)) {
    for (const { message } of assess(wanted).findings) expect(message).toMatch(/nvidia\.com\/gpu|sharing-strategy/);
  }
});
