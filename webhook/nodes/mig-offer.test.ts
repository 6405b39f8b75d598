// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { A100, MIB, aPlacement, card, seen, wantedOf } from './testing.ts';
import type { Case } from './testing.ts';

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

describe('MIG', () => {
  test.each(Object.entries(MIG))('%s', (_name, wanted) => {
    expect(seen(wanted)).toMatchObject(wantedOf(wanted));
  });
});
