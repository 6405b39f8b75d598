// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { amountOf, amountText } from './amounts.ts';
import { needsOf } from './needs.ts';
import { places } from './pod.ts';
import type { Container, PodSpec, Resources } from './pod.ts';

const GPU = 'nvidia.com/gpu';
const asks = (requests: Readonly<Record<string, unknown>>, more: Partial<Container> = {}): Container => ({
  name: 'c',
  resources: { requests },
  ...more,
});
const always = { restartPolicy: 'Always' };
const needs = (spec: PodSpec): unknown => {
  const found = needsOf(spec, places(spec), () => GPU);
  return found && Object.fromEntries(found);
};

describe('what a pod asks for beside its GPUs', () => {
  it.each<[string, Partial<PodSpec>, object | undefined]>([
    ['is nothing where nothing is said', { containers: [{ name: 'c' }] }, {}],
    ['is the sum of its containers', { containers: [asks({ cpu: '1500m' }), asks({ cpu: '0.5' })] }, { cpu: 2000 }],
    ['is not what is exchanged, nor what is none', { containers: [asks({ [GPU]: '1', 'rdma/hca': '0' })] }, {}],
    [
      'is a limit where there is no request',
      { containers: [{ name: 'c', resources: { limits: { memory: '1Gi', cpu: '4' }, requests: { cpu: '1' } } }] },
      { memory: 2 ** 30, cpu: 1000 },
    ],
    [
      'is an init container that asks for more',
      { initContainers: [asks({ 'rdma/hca': '2' })], containers: [asks({ 'rdma/hca': '1' })] },
      { 'rdma/hca': 2 },
    ],
    [
      'is sidecars beside containers',
      { initContainers: [asks({ cpu: '1' }, always)], containers: [asks({ cpu: '2' })] },
      { cpu: 3000 },
    ],
    [
      'is sidecars beside later init containers',
      { initContainers: [asks({ cpu: '1' }, always), asks({ cpu: '4' })], containers: [asks({ cpu: '2' })] },
      { cpu: 5000 },
    ],
    [
      'is what the pod says as a whole, of what it may say so',
      {
        containers: [asks({ cpu: '4', memory: '1Gi', 'rdma/hca': '1' })],
        resources: { requests: { cpu: '2', 'rdma/hca': '9' } },
      },
      { cpu: 2000, memory: 2 ** 30, 'rdma/hca': 1 },
    ],
    [
      'is a limit of the whole where no container asks',
      { containers: [asks({ cpu: '4' })], resources: { limits: { cpu: '8', memory: '2Gi' } } },
      { cpu: 4000, memory: 2 ** 31 },
    ],
    [
      'is what its runtime takes on top',
      { containers: [asks({ cpu: '1' })], overhead: { cpu: '250m', memory: '120Mi' } },
      { cpu: 1250, memory: 120 * 2 ** 20 },
    ],
    [
      'is not looked at where it is of too many kinds',
      { containers: [asks(Object.fromEntries(Array.from({ length: 65 }, (_, at) => [`example.com/r${at}`, '1'])))] },
      undefined,
    ],
  ])('%s', (_, spec, expected) => expect(needs({ containers: [], ...spec })).toEqual(expected));

  it('is of no member that every object has', () => {
    const resources = JSON.parse('{"requests":{"__proto__":"3"}}') as Resources;
    expect(needs({ containers: [], resources })).toEqual({});
  });
});

describe('amounts', () => {
  it.each<[string, unknown, number, string]>([
    ['cpu', '100m', 100, '0.1 cpu'],
    ['cpu', '1e-4', 1, '0.001 cpu'],
    ['cpu', 1.1, 1100, '1.1 cpu'],
    ['memory', '64Gi', 64 * 2 ** 30, '64 GiB of memory'],
    ['hugepages-2Mi', '2Mi', 2 ** 21, '2097152 bytes of hugepages-2Mi'],
    ['rdma/hca', '1k', 1000, '1000 rdma/hca'],
    ['rdma/hca', 'many', 0, '0 rdma/hca'],
    ['rdma/hca', '-1', 0, '0 rdma/hca'],
  ])('%s %j', (resource, quantity, amount, text) => {
    expect(amountOf(resource, quantity)).toBe(amount);
    expect(amountText(resource, amount)).toBe(text);
  });
});
