// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { GpuNode, SharedOffer } from '../slice/inventory.ts';
import { toGpuNode } from './gpu-node.ts';
import { toNodeFacts } from './node-facts.ts';
import { indexPlacements } from './placement-index.ts';
import type { PlacementSharing, SharedResource } from './sharing.ts';

const MIB = 2 ** 20;
const number = fc.oneof(
  fc.integer({ min: 0, max: 12 }).map(String),
  fc.constantFrom('', 'x', '-1', '1.5', '99999999999', '81920'),
);
const resource = fc.constantFrom(
  'nvidia.com/gpu',
  'nvidia.com/gpu.shared',
  'nvidia.com/mig-1g.10gb',
  'nvidia.com/mig-1g.10gb.shared',
  'nvidia.com/mig-1c.3g.40gb',
  'example.com/part',
);
const suffix = fc.constantFrom('count', 'memory', 'replicas', 'product', 'sharing-strategy');
const word = fc.constantFrom(
  'X',
  'X-SHARED',
  'X-MIG-1g.10gb',
  'X-MIG-1g.10gb-SHARED',
  'X-MIG-INVALID',
  'none',
  'mps',
  'time-slicing',
);
const ample = { 'nvidia.com/gpu.count': '12', 'nvidia.com/gpu.memory': '81920', 'nvidia.com/gpu.replicas': '4' };
const labels = fc
  .tuple(
    fc.array(fc.tuple(resource, suffix, fc.oneof(number, word)), { maxLength: 10 }),
    fc.constantFrom({}, {}, {}, ample),
  )
  .map(([entries, more]) => ({
    ...Object.fromEntries(entries.map(([name, part, value]) => [`${name}.${part}`, value])),
    ...more,
  }));
const units = fc.dictionary(resource, number);
const slotsPerGPU = fc.integer({ min: 1, max: 16 });
const memoryPerSlot = fc.integer({ min: 1, max: 90_000 }).map((mib) => mib * MIB);
const MODES = ['TimeSlicing', 'MPS', 'MIG'] as const;
const statement = fc.record(
  { name: resource, mode: fc.constantFrom(...MODES), slotsPerGPU, memoryPerSlot, packsOnOneCard: fc.boolean() },
  { requiredKeys: ['name'] },
);
const placement = fc.record(
  {
    placement: fc.constantFrom('a', 'b'),
    nodeSelectors: fc.constantFrom([], [{ pool: 'a' }]),
    mode: fc.constantFrom(...MODES, 'Exclusive' as const),
    resourceName: resource,
    slotsPerGPU,
    memoryPerSlot,
  },
  { requiredKeys: ['placement', 'nodeSelectors', 'mode'] },
);

test('whatever labels, resources and people say: slots of a card never have more than the card, nor are there more of them than units', () => {
  let offered = 0;
  let several = 0;
  const broken = (
    label: Record<string, string>,
    capacity: Record<string, string>,
    sharedResources: readonly SharedResource[],
    placements: readonly PlacementSharing[],
  ): unknown[] => {
    const metadata = { name: 'n', labels: { pool: 'a', ...label } };
    const object = { metadata, status: { capacity, allocatable: capacity } };
    const facts = toNodeFacts(object);
    const { node } = toGpuNode(facts, { gpuResource: 'nvidia.com/gpu', sharedResources }, indexPlacements(placements));
    if (node === undefined) return [];
    offered += node.shared.length;
    const packs = sharedResources.some(({ packsOnOneCard }) => packsOnOneCard);
    const ofCards = node.shared.filter(({ mode }) => mode !== 'MIG');
    const filled = ofCards.reduce(
      (sum, { allocatable, slotsPerGPU: slots }) => sum + Math.ceil(allocatable / slots),
      0,
    );
    several += ofCards.length > 1 ? 1 : 0;
    return [...node.shared.filter((offer) => !isSound(node, offer, packs)), ...(filled > node.cards ? [filled] : [])];
  };
  const property = fc.property(
    labels,
    units,
    fc.uniqueArray(statement, { maxLength: 3, selector: ({ name }) => name }),
    fc.array(placement, { maxLength: 3 }),
    (...said) => {
      expect(broken(...said)).toEqual([]);
    },
  );
  fc.assert(property, { numRuns: 3000 });
  // Were everything refused, the above would be easy.
  expect(offered).toBeGreaterThan(300);
  expect(several).toBeGreaterThan(10);
});

function isSound(node: GpuNode, offer: SharedOffer, packs: boolean): boolean {
  const { mode, slotsPerGPU, memoryPerSlot, allocatable, refusesMultiple, onOneCard } = offer;
  if (slotsPerGPU < 1 || memoryPerSlot < 0 || allocatable < 1) return false;
  if (mode !== 'TimeSlicing' && !refusesMultiple) return false;
  if (mode === 'MIG' || offer.resource.includes('/mig-')) return true;
  const fits = slotsPerGPU * memoryPerSlot <= node.cardMemory && node.cards * slotsPerGPU >= allocatable;
  return fits && (packs || !onOneCard || slotsPerGPU >= allocatable);
}
