// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { A100, H100, MIB, aPlacement, assess, card, seen, wantedOf, quarter, shared4 } from './testing.ts';
import type { Case } from './testing.ts';

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
  'two shared resources on one card': {
    labels: card({ count: 1, memory: A100, product: 'NVIDIA-A100-SXM4-80GB-SHARED', replicas: 4 }),
    capacity: { 'nvidia.com/gpu': '4', 'nvidia.com/gpu.shared': '4' },
    cards: 1,
    offers: [],
    findings: ['CardsOverlap'],
  },
  'two shared resources, one of them another plugin’s, on one card': {
    labels: card({ count: 1, memory: A100, product: 'NVIDIA-A100-SXM4-80GB', replicas: 4 }),
    capacity: { 'nvidia.com/gpu.shared': '4', 'example.com/half': '2' },
    sharedResources: [{ name: 'example.com/half', slotsPerGPU: 2 }],
    cards: 1,
    offers: [],
    findings: ['SlotsDisagree', 'CardsOverlap'],
  },
  'two shared resources, and a card for each': {
    labels: card({ count: 2, memory: A100, product: 'NVIDIA-A100-SXM4-80GB', replicas: 4 }),
    capacity: { 'nvidia.com/gpu.shared': '4', 'example.com/part': '4' },
    sharedResources: [{ name: 'example.com/part', slotsPerGPU: 4 }],
    cards: 2,
    offers: [
      { resource: 'example.com/part', slotsPerGPU: 4, onOneCard: false },
      { resource: 'nvidia.com/gpu.shared', slotsPerGPU: 4, onOneCard: false },
    ],
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

describe('contradictions get the careful answer', () => {
  test.each(Object.entries(CONTRADICTORY))('%s', (_name, wanted) => {
    expect(seen(wanted)).toMatchObject(wantedOf(wanted));
  });
});

test('every finding says what it saw and names the node’s resource or label', () => {
  for (const wanted of Object.values(CONTRADICTORY)) {
    for (const { message } of assess(wanted).findings) expect(message).toMatch(/nvidia\.com\/gpu|sharing-strategy/);
  }
});
