// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { toGpuNode } from './gpu-node.ts';
import { toNodeFacts } from './node-facts.ts';

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
const labels = fc
  .array(fc.tuple(resource, suffix, fc.oneof(number, word)), { maxLength: 10 })
  .map((entries) => Object.fromEntries(entries.map(([name, part, value]) => [`${name}.${part}`, value])));
const units = fc.dictionary(resource, number);
const slots = fc.option(fc.integer({ min: 1, max: 16 }), { nil: undefined });
const memory = fc.option(
  fc.integer({ min: 1, max: 90_000 }).map((mib) => mib * MIB),
  { nil: undefined },
);
const present = <T extends object>(entry: T): T =>
  Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined)) as T;
const statement = fc
  .record({
    name: resource,
    mode: fc.constantFrom('TimeSlicing' as const, 'MPS' as const, 'MIG' as const),
    slotsPerGPU: slots,
    memoryPerSlot: memory,
    packsOnOneCard: fc.boolean(),
  })
  .map(present);
const placement = fc
  .record({
    placement: fc.constantFrom('a', 'b'),
    nodeSelectors: fc.constantFrom([], [{ pool: 'a' }]),
    mode: fc.constantFrom('TimeSlicing' as const, 'MPS' as const, 'MIG' as const, 'Exclusive' as const),
    resourceName: fc.option(resource, { nil: undefined }),
    slotsPerGPU: slots,
    memoryPerSlot: memory,
  })
  .map(present);

test('whatever labels, resources and people say: slots of a card never have more than the card, nor are there more of them than units', () => {
  let offered = 0;
  const holds = (
    ...[label, capacity, sharedResources, placements]: [
      Record<string, string>,
      Record<string, string>,
      never[],
      never[],
    ]
  ): void => {
    const object = {
      metadata: { name: 'n', labels: { pool: 'a', ...label } },
      status: { capacity, allocatable: capacity },
    };
    const { node } = toGpuNode(toNodeFacts(object), { gpuResource: 'nvidia.com/gpu', sharedResources }, placements);
    for (const offer of node?.shared ?? []) {
      offered += 1;
      expect(offer.memoryPerSlot).toBeGreaterThanOrEqual(0);
      expect(offer.slotsPerGPU).toBeGreaterThanOrEqual(1);
      expect(offer.allocatable).toBeGreaterThanOrEqual(1);
      if (offer.mode !== 'TimeSlicing') expect(offer.refusesMultiple).toBe(true);
      if (offer.resource.includes('/mig-') || offer.mode === 'MIG') continue;
      expect(offer.slotsPerGPU * offer.memoryPerSlot).toBeLessThanOrEqual(node?.cardMemory ?? 0);
      expect((node?.cards ?? 0) * offer.slotsPerGPU).toBeGreaterThanOrEqual(offer.allocatable);
      if (
        offer.onOneCard &&
        !sharedResources.some(({ packsOnOneCard }: { packsOnOneCard?: boolean }) => packsOnOneCard)
      ) {
        expect(offer.slotsPerGPU).toBeGreaterThanOrEqual(offer.allocatable);
      }
    }
  };
  const property = fc.property(
    labels,
    units,
    fc.uniqueArray(statement, { maxLength: 3, selector: ({ name }) => name }) as never,
    fc.array(placement, { maxLength: 3 }) as never,
    holds,
  );
  fc.assert(property, { numRuns: 3000 });
  // Were everything refused, the above would be easy.
  expect(offered).toBeGreaterThan(300);
});
