// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { SliceContext } from './context.ts';
import { contextOf, gpuNode, patched, settings, slicedPod } from './fixtures.ts';
import type { Pod, PodSpec } from './pod.ts';
import { slicePod } from './slice-pod.ts';

function sliced(pod: Pod, given: SliceContext): Pod {
  const { outcome, patch = [] } = slicePod(pod, given);
  expect(outcome).toBe('mutated');
  return patched(pod, patch);
}

describe('where slices may run', () => {
  const tolerations = [{ key: 'gpu', operator: 'Exists', effect: 'NoSchedule' }];
  const nodeRequirements = [{ key: 'sharing', operator: 'Exists' as const }];
  const given = contextOf(
    [gpuNode('big', { labels: { sharing: 'on' }, taints: [{ key: 'gpu', effect: 'NoSchedule' }] })],
    {
      settings: { ...settings, tolerations, nodeRequirements },
    },
  );
  const required = (spec: PodSpec) =>
    spec.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms;

  it('gets what the administrator says', () => {
    const { spec } = sliced(slicedPod(), given);
    expect(spec.tolerations).toEqual(tolerations);
    expect(required(spec)).toEqual([{ matchExpressions: nodeRequirements }]);
  });

  it('beside what the pod says, in each alternative but the empty one', () => {
    const zone = { key: 'sharing', operator: 'In', values: ['on'] };
    const fields = [{ key: 'metadata.name', operator: 'In', values: ['big'] }];
    const nodeAffinity = {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [{ matchExpressions: [zone] }, {}, { matchFields: fields }],
      },
    };
    const { spec } = sliced(
      slicedPod({}, { affinity: { nodeAffinity }, tolerations: [{ key: 'own', operator: 'Exists' }] }),
      given,
    );
    expect(required(spec)).toEqual([
      { matchExpressions: [zone, ...nodeRequirements] },
      {},
      { matchFields: fields, matchExpressions: nodeRequirements },
    ]);
    expect(spec.tolerations).toEqual([{ key: 'own', operator: 'Exists' }, ...tolerations]);
  });

  it.each<[string, PodSpec['affinity']]>([
    ['affinity of other kinds', {}],
    ['node affinity of preference', { nodeAffinity: {} }],
  ])('beside %s', (_, affinity) => {
    expect(required(sliced(slicedPod({}, { affinity: affinity! }), given).spec)).toEqual([
      { matchExpressions: nodeRequirements },
    ]);
  });

  it('is no matter for a pod with a node', () => {
    expect(sliced(slicedPod({}, { nodeName: 'big' }), given).spec.affinity).toBeUndefined();
  });
});
