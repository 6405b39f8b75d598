// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { H100, MIB, aPlacement, assess, card, seen, wantedOf, quarter, shared4 } from './testing.ts';
import type { Case } from './testing.ts';

const LABELLED: Record<string, Case> = {
  'a node without GPUs is none': { capacity: { 'vpc.amazonaws.com/pod-eni': '9' } },
  'nor is one with network cards of the same vendor': { capacity: { 'nvidia.com/hostdev': '8' } },
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
  'a sick card takes units away for as long as it is sick': {
    labels: shared4,
    capacity: { 'nvidia.com/gpu.shared': '8' },
    allocatable: { 'nvidia.com/gpu.shared': '4' },
    cards: 2,
    offers: [{ slotsPerGPU: 4, allocatable: 8 }],
  },
  'nothing allocatable while the plugin is restarted: it comes back': {
    labels: shared4,
    capacity: { 'nvidia.com/gpu.shared': '8' },
    allocatable: { 'nvidia.com/gpu.shared': '0' },
    cards: 2,
    offers: [{ slotsPerGPU: 4, memoryPerSlot: quarter, allocatable: 8 }],
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
  'a setting for units of whole GPUs says nothing about nodes that do not share': {
    labels: card({ count: 2, memory: H100, product: 'NVIDIA-H100-80GB-HBM3', replicas: 1, 'sharing-strategy': 'none' }),
    capacity: { 'nvidia.com/gpu': '2' },
    sharedResources: [{ name: 'nvidia.com/gpu', failRequestsGreaterThanOne: true }],
    cards: 2,
    offers: [],
  },
  'and holds on those that do': {
    labels: card({ count: 1, memory: 16_384, product: 'Tesla-T4-SHARED', replicas: 2 }),
    capacity: { 'nvidia.com/gpu': '2' },
    sharedResources: [{ name: 'nvidia.com/gpu', failRequestsGreaterThanOne: true }],
    cards: 1,
    offers: [{ resource: 'nvidia.com/gpu', slotsPerGPU: 2, refusesMultiple: true }],
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

describe.each([
  ['labels of GPU feature discovery', LABELLED],
  ['what people state', STATED],
])('%s', (_group, cases) => {
  test.each(Object.entries(cases))('%s', (_name, wanted) => {
    expect(seen(wanted)).toMatchObject(wantedOf(wanted));
  });
});

describe('what a node advertises is told where it can not be reckoned with, too', () => {
  const units = (wanted: Case): object => Object.fromEntries(assess(wanted).node?.advertised ?? []);
  test.each<[string, Case, object]>([
    ['no slots known', { capacity: { 'nvidia.com/gpu.shared': '16' } }, { 'nvidia.com/gpu.shared': 16 }],
    [
      'more units than slots, and none of them allocatable at this moment',
      { labels: shared4, capacity: { 'nvidia.com/gpu.shared': '9' }, allocatable: {} },
      { 'nvidia.com/gpu.shared': 9 },
    ],
    [
      'an Exclusive Placement',
      {
        labels: { ...shared4, pool: 'a' },
        capacity: { 'nvidia.com/gpu.shared': '8' },
        placements: [aPlacement({ mode: 'Exclusive', nodeSelectors: [{ pool: 'a' }] })],
      },
      { 'nvidia.com/gpu.shared': 8 },
    ],
    [
      'a resource that only a Placement of other nodes names',
      {
        capacity: { 'example.com/part': '4' },
        placements: [aPlacement({ resourceName: 'example.com/part', nodeSelectors: [{ pool: 'b' }], slotsPerGPU: 4 })],
      },
      { 'example.com/part': 4 },
    ],
    [
      'Windows',
      { labels: { ...shared4, 'kubernetes.io/os': 'windows' }, capacity: { 'nvidia.com/gpu.shared': '8' } },
      { 'nvidia.com/gpu.shared': 8 },
    ],
  ])('%s', (_name, wanted, expected) => {
    expect(assess(wanted).node?.shared).toEqual([]);
    expect(units(wanted)).toEqual(expected);
  });

  test('and by which labels Placements select it', () => {
    const placements = [
      aPlacement({ nodeSelectors: [{ pool: 'b' }, { pool: 'a', zone: 'x' }] }),
      aPlacement({ mode: 'Exclusive', nodeSelectors: [{ team: 'x' }] }),
      aPlacement({ nodeSelectors: [{ other: 'x' }] }),
    ];
    const labels = { ...shared4, pool: 'a', zone: 'x', team: 'x' };
    const { node } = assess({ labels, capacity: { 'nvidia.com/gpu.shared': '8' }, placements });
    expect(node?.selectedBy).toEqual(['pool', 'zone', 'team']);
  });
});
