// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import type { KubeObject } from '#kube/types.ts';
import { sameFacts, toNodeFacts } from './node-facts.ts';

function aNode(
  over: { labels?: Record<string, string>; spec?: object; status?: object; resourceVersion?: string } = {},
): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: 'gpu-1',
      uid: 'u',
      resourceVersion: over.resourceVersion ?? '1',
      labels: { 'nvidia.com/gpu.count': '1', pool: 'a', ...over.labels },
      annotations: { long: 'x'.repeat(10_000) },
    },
    spec: {
      podCIDR: '10.0.0.0/24',
      taints: [{ key: 'k', value: 'v', effect: 'NoSchedule', timeAdded: 'now' }],
      ...over.spec,
    },
    status: {
      capacity: { cpu: '8', 'nvidia.com/gpu': '1', 'hugepages-2Mi': '0', 'attachable-volumes.kubernetes.io/x': '3' },
      allocatable: { cpu: '8', 'nvidia.com/gpu': '1' },
      conditions: [{ type: 'Ready', lastHeartbeatTime: 'now' }],
      images: [{ names: ['x'.repeat(10_000)] }],
      nodeInfo: { containerRuntimeVersion: 'containerd://2.1.4', kubeletVersion: 'v1.36.3', machineID: 'm' },
      ...over.status,
    },
  } as KubeObject;
}

describe('what is kept of a node', () => {
  test('labels, taints, device resources and versions; not images, conditions or annotations', () => {
    expect(toNodeFacts(aNode())).toEqual({
      metadata: { name: 'gpu-1', uid: 'u', resourceVersion: '1', labels: { 'nvidia.com/gpu.count': '1', pool: 'a' } },
      taints: [{ key: 'k', value: 'v', effect: 'NoSchedule' }],
      unschedulable: false,
      capacity: { 'nvidia.com/gpu': '1' },
      allocatable: { cpu: '8', 'nvidia.com/gpu': '1' },
      runtime: 'containerd://2.1.4',
      kubeletVersion: 'v1.36.3',
    });
  });

  test('of a node without devices hardly more than its name', () => {
    const plain = aNode({ status: { capacity: { cpu: '8' }, allocatable: { cpu: '8' } } });
    delete plain.metadata.labels?.['nvidia.com/gpu.count'];
    const facts = toNodeFacts(plain);
    expect(facts.metadata).toEqual({ name: 'gpu-1', uid: 'u', resourceVersion: '1' });
    expect(JSON.stringify(facts).length).toBeLessThan(250);
  });

  test.each([{}, { spec: null, status: 'x' }, { status: { capacity: [], nodeInfo: 7 }, spec: { taints: 'x' } }])(
    'a node that lacks parts is no error: %j',
    (parts) => {
      const facts = toNodeFacts({
        metadata: { name: 'n', labels: { 'nvidia.com/gpu.count': '1' } },
        ...parts,
      });
      expect(facts).toMatchObject({ taints: [], capacity: {}, allocatable: {}, runtime: '', kubeletVersion: '' });
    },
  );
});

describe('a change that matters', () => {
  const before = toNodeFacts(aNode());
  const cases: Record<string, [Parameters<typeof aNode>[0], boolean]> = {
    'a heartbeat': [
      { resourceVersion: '2', status: { conditions: [{ type: 'Ready', lastHeartbeatTime: 'later' }] } },
      true,
    ],
    'an image pulled': [{ status: { images: [] } }, true],
    'a label': [{ labels: { pool: 'b' } }, false],
    'a taint': [{ spec: { taints: [] } }, false],
    'a cordon': [{ spec: { unschedulable: true } }, false],
    'a unit fewer': [{ status: { allocatable: { 'nvidia.com/gpu': '0' } } }, false],
    'more capacity': [{ status: { capacity: { 'nvidia.com/gpu': '4' } } }, false],
    'less CPU': [{ status: { allocatable: { cpu: '4', 'nvidia.com/gpu': '1' } } }, false],
    'another runtime': [
      { status: { nodeInfo: { containerRuntimeVersion: 'containerd://2.2.0', kubeletVersion: 'v1.36.3' } } },
      false,
    ],
    'another kubelet': [
      { status: { nodeInfo: { containerRuntimeVersion: 'containerd://2.1.4', kubeletVersion: 'v1.37.0' } } },
      false,
    ],
  };
  test.each(Object.entries(cases))('%s', (_name, [over, same]) => {
    expect(sameFacts(before, toNodeFacts(aNode(over)))).toBe(same);
  });
});
