// SPDX-License-Identifier: Apache-2.0
// From nodes as the API server shows them to the pod's node affinity: units that cannot be reckoned with attract no slice.
import { applyPatch } from 'fast-json-patch';
import { expect, it } from 'vitest';
import { contextOf, slicedPod } from '../slice/fixtures.ts';
import type { GpuNode } from '../slice/inventory.ts';
import { mayLandOn } from '../slice/node-match.ts';
import { slicePod } from '../slice/slice-pod.ts';
import { A100, MIB, aPlacement, assess, card } from './testing.ts';
import type { Case } from './testing.ts';

const SHARED = 'nvidia.com/gpu.shared';
const LABELS = card({ count: 1, memory: A100, product: 'NVIDIA-A100-SXM4-80GB', replicas: 4 });

function aNode(name: string, { labels = {}, ...said }: Case): GpuNode {
  const { node } = assess({ ...said, labels: { ...labels, 'kubernetes.io/hostname': name } });
  if (node === undefined) throw new Error(`${name} is no node with GPUs`);
  return { ...node, name, taints: [] };
}

it.each<[string, Case, Case]>([
  [
    'more units than its cards have slots',
    { labels: LABELS, capacity: { [SHARED]: '4' } },
    { labels: LABELS, capacity: { [SHARED]: '8' } },
  ],
  [
    'those of an Exclusive Placement',
    { labels: LABELS, capacity: { [SHARED]: '4' } },
    {
      labels: { ...LABELS, pool: 'own' },
      capacity: { [SHARED]: '4' },
      placements: [aPlacement({ mode: 'Exclusive', nodeSelectors: [{ pool: 'own' }] })],
    },
  ],
  [
    'those of which nobody says what they are',
    { capacity: { [SHARED]: '4' }, placements: [aPlacement({ slotsPerGPU: 4, memoryPerSlot: 20_480 * MIB })] },
    { capacity: { [SHARED]: '16' } },
  ],
])('units on a node that can be reckoned with, and %s', (_name, good, bad) => {
  const nodes = [aNode('a', good), aNode('b', bad)];
  const { outcome, patch = [] } = slicePod(slicedPod(), contextOf(nodes));
  expect(outcome).toBe('mutated');
  const { spec } = applyPatch(structuredClone(slicedPod()), structuredClone([...patch]), true).newDocument;
  expect(nodes.map((node) => mayLandOn(spec, spec.tolerations ?? [], node))).toEqual([true, false]);
});

it('a node whose plugin is restarted at this moment gets no pod whose quota is more than its slots have', () => {
  const small = {
    capacity: { [SHARED]: '4' },
    allocatable: { [SHARED]: '0' },
    placements: [aPlacement({ slotsPerGPU: 4, memoryPerSlot: 6144 * MIB })],
  };
  const nodes = [
    aNode('a', {
      ...small,
      allocatable: small.capacity,
      placements: [aPlacement({ slotsPerGPU: 4, memoryPerSlot: 20_480 * MIB })],
    }),
    aNode('b', small),
  ];
  const { patch = [] } = slicePod(slicedPod(), contextOf(nodes));
  const { metadata, spec } = applyPatch(structuredClone(slicedPod()), structuredClone([...patch]), true).newDocument;
  expect(metadata.annotations?.['main.vram.penstock.dev/quota']).toBe(String(20_480 * MIB));
  expect(nodes.map((node) => mayLandOn(spec, spec.tolerations ?? [], node))).toEqual([true, false]);
});
