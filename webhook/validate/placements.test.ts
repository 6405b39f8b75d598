// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { Verdict } from '../admission/types.ts';
import type { GpuNode, Inventory } from '../slice/inventory.ts';
import { validatePlacements } from './placements.ts';
import { aReview, stored } from './testing.ts';

type Json = Record<string, unknown>;

const GIB = 2 ** 30;
const OFFER = {
  resource: 'nvidia.com/gpu.shared',
  mode: 'TimeSlicing',
  slotsPerGPU: 4,
  memoryPerSlot: 10 * GIB,
  allocatable: 4,
  refusesMultiple: false,
  onOneCard: true,
} as const;

function aNode(name: string, labels: Record<string, string> = {}, more: Partial<GpuNode> = {}): GpuNode {
  const units = new Map([[OFFER.resource, 4]]);
  const card = { cards: 1, cardMemory: 40 * GIB, shared: [OFFER], advertised: units, allocatable: units };
  return { name, labels, taints: [], unschedulable: false, selectedBy: [], ...card, ...more };
}

const plc = (spec: Json = {}, name = 'pool'): Json =>
  stored('Placement', name, { kubernetes: {}, allowedNamespaces: ['team'], ...spec });

function review(object: Json, oldObject?: Json, nodes: readonly GpuNode[] | undefined = [aNode('a')]): Verdict {
  const inventory: Inventory = { synced: nodes.length > 0, nodes };
  const handler = validatePlacements({
    inventory: () => inventory,
    namespaceExists: (name) => (name === 'unknown' ? undefined : name === 'team'),
  });
  return handler(aReview(object, oldObject), new AbortController().signal) as Verdict;
}

const sharing = (of: Json, spec: Json = {}): Json => plc({ sharing: of, ...spec });

describe('a placement', () => {
  it('that fits its nodes passes in silence', () => {
    const fitting = { mode: 'TimeSlicing', resourceName: OFFER.resource, slotsPerGPU: 4, memoryPerSlot: '10Gi' };
    expect(review(sharing(fitting))).toEqual({});
    expect(review(plc())).toEqual({});
  });

  it.each<[string, unknown]>([
    ['without anything', {}],
    ['that is none', undefined],
    ['of other types', { kubernetes: 1, allowedNamespaces: 'team', sharing: [] }],
  ])('with a spec %s is refused by the field', (_, spec) => {
    expect(review({ ...plc(), spec }).refusal).toMatchObject({ code: 422 });
  });

  it('that nobody has filled with defaults is looked at as one that somebody has', () => {
    expect(review({ ...plc(), spec: { kubernetes: {}, allowedNamespaces: ['team'] } })).toEqual({});
  });

  it('may not promise more memory than a card has', () => {
    const { refusal } = review(sharing({ mode: 'TimeSlicing', slotsPerGPU: 4, memoryPerSlot: '20Gi' }));
    expect(refusal).toMatchObject({ code: 422, causes: [{ field: 'spec.sharing.memoryPerSlot' }] });
    expect(refusal?.message).toContain('4 slots of 20Gi are more than a card of node a has 40960Mi');
  });

  it('may promise what the cards of its own nodes have', () => {
    const nodes = [aNode('small', { size: 's' }), aNode('large', { size: 'l' }, { cardMemory: 80 * GIB })];
    const of = (size: string): Json =>
      sharing({ mode: 'MPS', slotsPerGPU: 4, memoryPerSlot: '20Gi' }, { kubernetes: { nodeSelectors: [{ size }] } });
    expect(review(of('l'), undefined, nodes).refusal).toBeUndefined();
    expect(review(of('s'), undefined, nodes).refusal).toBeDefined();
  });

  it('that was stored with a wrong promise may be changed in everything else, and may go', () => {
    const wrong = { mode: 'TimeSlicing', slotsPerGPU: 4, memoryPerSlot: '20Gi' };
    expect(review(sharing(wrong, { pricing: 'Spot' }), sharing(wrong)).refusal).toBeUndefined();
    expect(review(sharing({ ...wrong, slotsPerGPU: 3 }), sharing(wrong)).refusal).toBeDefined();
    const going = { ...sharing(wrong), metadata: { name: 'pool', deletionTimestamp: '2026-01-01T00:00:00Z' } };
    expect(review(going, plc())).toEqual({});
    const relabelled = { ...sharing(wrong), metadata: { name: 'pool', labels: { a: 'b' } } };
    expect(review(relabelled, sharing(wrong))).toEqual({});
  });
});

describe('a warning', () => {
  it.each<[string, Json, readonly GpuNode[], RegExp | undefined]>([
    [
      'a namespace that is not there',
      plc({ allowedNamespaces: ['team', 'gone'] }),
      [],
      /^spec\.allowedNamespaces\[1\]: there is no namespace gone/,
    ],
    ['a namespace of which nothing is known', plc({ allowedNamespaces: ['unknown'] }), [], undefined],
    ['nobody who may use it', plc({ allowedNamespaces: [] }), [], /^spec\.allowedNamespaces: is empty/],
    ['names beside all', plc({ allowedNamespaces: ['*', 'team'] }), [], /the others add nothing/],
    ['the name of a workstation', plc({}, 'local'), [], /^metadata\.name: local/],
    [
      'a toleration of everything',
      plc({ kubernetes: { tolerations: [{ operator: 'Exists' }] } }),
      [],
      /tolerations\[0\]: tolerates every taint, /,
    ],
    [
      'no node',
      sharing({ mode: 'MPS' }, { kubernetes: { nodeSelectors: [{ a: 'b' }] } }),
      [aNode('a')],
      /no node with GPUs matches/,
    ],
    ['nodes that nobody has listed', sharing({ mode: 'MPS', resourceName: 'nvidia.com/other' }), [], undefined],
    [
      'whole GPUs that are shared',
      sharing({ mode: 'Exclusive' }),
      [aNode('a')],
      /node a shares its GPUs as nvidia\.com\/gpu\.shared/,
    ],
    ['whole GPUs', sharing({ mode: 'Exclusive' }), [aNode('a', {}, { shared: [] })], undefined],
    [
      'another resource',
      sharing({ mode: 'MPS', resourceName: 'nvidia.com/other' }),
      [aNode('a')],
      /advertises nvidia\.com\/other; there is nvidia\.com\/gpu\.shared/,
    ],
    [
      'other slots',
      sharing({ mode: 'TimeSlicing', slotsPerGPU: 8 }),
      [aNode('a')],
      /node a splits each GPU into 4, not 8/,
    ],
  ])('is shown for %s', (_what, object, nodes, text) => {
    const verdict = review(object, undefined, nodes);
    expect(verdict.refusal).toBeUndefined();
    const warnings = verdict.warnings ?? [];
    expect(warnings).toHaveLength(text === undefined ? 0 : 1);
    expect(warnings.filter((warning) => text?.test(warning) !== true)).toEqual([]);
  });
});
