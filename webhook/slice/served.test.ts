// SPDX-License-Identifier: Apache-2.0
// A pod is sliced only where a node takes it at this moment with all that it asks for; unless no node would take it whole, either.
import { describe, expect, it } from 'vitest';
import { contextOf, GIB, gpuContainer, gpuNode, patched, SHARED, slicedPod } from './fixtures.ts';
import type { GpuNode } from './inventory.ts';
import { mayLandOn } from './node-match.ts';
import type { Container, Pod } from './pod.ts';
import { slicePod } from './slice-pod.ts';

const GPU = 'nvidia.com/gpu';
const HCA = 'rdma/hca';
const ONE_G = 'nvidia.com/mig-1g.10gb';

/** Eight GPUs that nobody shares. */
const whole = (name: string, now: Readonly<Record<string, number>> = {}): GpuNode =>
  gpuNode(name, { cards: 8, shared: [], advertised: new Map([[GPU, 8]]), now });
const cordoned = (name: string, more: Parameters<typeof gpuNode>[1] = {}): GpuNode =>
  gpuNode(name, { unschedulable: true, ...more });
const sick = (name: string): GpuNode => gpuNode(name, { now: { [SHARED]: 0 } });
const asking = (more: Readonly<Record<string, string>>, others: readonly Container[] = []): Pod => {
  const main = gpuContainer('main');
  const resources = { limits: { ...main.resources?.limits, ...more } };
  return slicedPod({}, { containers: [{ ...main, resources }, ...others] });
};

/** The nodes that it may land on as a slice, or why there is none. */
function outcome(pod: Pod, nodes: readonly GpuNode[]): string {
  const { outcome: what, patch, wholeBecause } = slicePod(pod, contextOf(nodes));
  if (what !== 'mutated') return `${what}: ${wholeBecause}`;
  const { spec } = patched(pod, patch);
  const names = nodes.flatMap((node) => (mayLandOn(spec, spec.tolerations ?? [], node) ? [node.name] : []));
  return `mutated: ${names.join()}`;
}

const large = {
  labels: { 'nvidia.com/gpu.replicas': '8', 'nvidia.com/gpu.memory': '81920' },
  offer: { slotsPerGPU: 8 },
};
const small = {
  cardMemory: 24 * GIB,
  labels: { 'nvidia.com/gpu.replicas': '2', 'nvidia.com/gpu.memory': '24576' },
  offer: { slotsPerGPU: 2 },
};
const other = (name: string, limits: Readonly<Record<string, string>>): Container => ({ name, resources: { limits } });

describe('what else the pod asks for', () => {
  const share = gpuNode('share');
  const rich = gpuNode('rich', { now: { [HCA]: 8 } });
  const tiny = gpuNode('tiny', { now: { cpu: 4000, memory: 16 * GIB } });
  it.each<[string, Pod, GpuNode[], string]>([
    [
      'is not on the node that shares: whole',
      asking({ [HCA]: '1' }),
      [share, whole('whole', { [HCA]: 8 })],
      'noop: node share has 0 rdma/hca, 1 rdma/hca is needed',
    ],
    ['is on one of the nodes that share', asking({ [HCA]: '1' }), [share, rich], 'mutated: share,rich'],
    [
      'is more CPU than there is',
      asking({ cpu: '16' }),
      [tiny, whole('whole')],
      'noop: node tiny has 4 cpu, 16 cpu is needed',
    ],
    [
      'is more memory than there is',
      asking({ memory: '64Gi' }),
      [tiny, whole('whole')],
      'noop: node tiny has 16 GiB of memory, 64 GiB of memory is needed',
    ],
    [
      'is an instance of MIG that another container asks for by its name',
      asking({}, [other('side', { [ONE_G]: '1' })]),
      [share, whole('whole', { [ONE_G]: 1 })],
      'noop: node share has 0 nvidia.com/mig-1g.10gb, 1 nvidia.com/mig-1g.10gb is needed',
    ],
    [
      'is the shared resource by its name: slots of another node do not serve it',
      asking({}, [other('side', { [SHARED]: '1' })]),
      [share, gpuNode('unrenamed', { shared: [{ ...share.shared[0]!, resource: GPU }] })],
      `noop: container side asks for ${SHARED} itself`,
    ],
    ['is there', asking({ cpu: '4', memory: '16Gi', 'ephemeral-storage': '1Gi' }), [tiny], 'mutated: tiny'],
  ])('%s', (_, pod, nodes, expected) => expect(outcome(pod, nodes)).toBe(expected));

  it('decides how many slots memory takes: on nodes that have it', () => {
    const fine = gpuNode('fine', { offer: { slotsPerGPU: 16 }, now: { [HCA]: 1 } });
    const pod = asking({ [HCA]: '1' });
    const annotations = { ...pod.metadata.annotations, 'penstock.dev/vram': '15Gi' };
    const nodes = [share, gpuNode('share2'), fine];
    expect(outcome({ ...pod, metadata: { annotations } }, nodes)).toMatch(/^mutated: .*fine/);
  });
});

describe('nodes that take no pods at this moment', () => {
  it('are named where the pod has to wait for them', () => {
    expect(slicePod(slicedPod(), contextOf([sick('share')])).warnings).toContainEqual(
      `penstock: sliced, and no node takes the pod now: node share has no unit of ${SHARED} at this moment`,
    );
  });

  it('have no say in how many slots memory takes', () => {
    const away = ['a', 'b', 'c'].map((name) =>
      gpuNode(name, { offer: { refusesMultiple: true }, now: { [SHARED]: 0 } }),
    );
    const pod = slicedPod({ 'penstock.dev/vram': '15Gi' });
    expect(outcome(pod, [...away, gpuNode('eight', { offer: { slotsPerGPU: 8 } })])).toBe('mutated: eight');
  });

  it.each<[string, Pod, GpuNode[], string]>([
    [
      'do not outvote those that do',
      slicedPod(),
      [...['c1', 'c2', 'c3'].map((name) => cordoned(name, large)), ...['s1', 's2'].map((name) => gpuNode(name, small))],
      'mutated: s1,s2',
    ],
    [
      'do not serve beside a node with whole GPUs',
      slicedPod(),
      [cordoned('share'), whole('whole')],
      'noop: no node that it may land on offers parts of a GPU at this moment',
    ],
    [
      'for want of units that are well, neither',
      slicedPod(),
      [sick('share'), whole('whole')],
      `noop: node share has no unit of ${SHARED} at this moment`,
    ],
    ['are waited for where no other would take the pod whole', slicedPod(), [cordoned('share')], 'mutated: share'],
    [
      'nor is there another where that has none to give',
      slicedPod(),
      [sick('share'), whole('whole', { [GPU]: 0 })],
      'mutated: share,whole',
    ],
    [
      'may take it later, where its quota holds',
      slicedPod(),
      [gpuNode('share'), cordoned('twin')],
      'mutated: share,twin',
    ],
    [
      'may not where it does not',
      slicedPod(),
      [gpuNode('share'), cordoned('small', { cardMemory: 24 * GIB }), sick('sick')],
      'mutated: share,sick',
    ],
    [
      'serve a pod that tolerates it',
      slicedPod({}, { tolerations: [{ operator: 'Exists' }] }),
      [cordoned('share'), whole('whole')],
      'mutated: share,whole',
    ],
    [
      'serve a pod that is theirs by name',
      slicedPod({}, { nodeName: 'share' }),
      [cordoned('share'), whole('whole')],
      'mutated: share',
    ],
  ])('%s', (_, pod, nodes, expected) => expect(outcome(pod, nodes)).toBe(expected));
});
