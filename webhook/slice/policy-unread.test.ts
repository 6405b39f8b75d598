// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { contextOf, gpuNode, patched, slicedPod } from './fixtures.ts';
import { slicePod } from './slice-pod.ts';

const given = contextOf([gpuNode('big')]);
const unread = { ...given, policyUnread: true };
const UNASKED = { metadata: { annotations: {} }, spec: slicedPod().spec };

it.each([
  ['a pod that asks for a slice', slicedPod()],
  ['a pod that the policy might enrol', UNASKED],
])('before any document of the policy could be read %s passes as it is, counted and with a warning', (_name, pod) => {
  const { outcome, reason, patch, warnings } = slicePod(pod, unread);
  expect([outcome, reason, patch]).toEqual(['noop', 'no-policy', undefined]);
  expect(warnings).toEqual([expect.stringContaining('ConfigMap penstock-slicing')]);
});

it('a pod that was sliced by another replica keeps its slice', () => {
  const { patch = [] } = slicePod(slicedPod(), given);
  const pod = patched(slicedPod(), patch);
  expect(slicePod(pod, unread)).toMatchObject({ outcome: 'noop', reason: 'no-policy' });
});

it('a pod that wants no slice, or has no GPU, is not bothered', () => {
  expect(slicePod(slicedPod({ 'penstock.dev/slice': 'false' }), unread)).toMatchObject({
    reason: 'opted-out',
    warnings: [],
  });
  const without = { metadata: {}, spec: { containers: [{ name: 'main', image: 'app:1' }] } };
  expect(slicePod(without, unread)).toMatchObject({ reason: 'no-gpu', warnings: [] });
});

describe('where the policy goes by labels of a namespace that are not known', () => {
  const policy = { rule: 'all', action: 'slice', ratio: 2 } as const;
  const lost = { ...given, policy: { rule: '', action: 'unknown' } as const };
  it.each([
    ['a pod that it might enrol', UNASKED],
    ['a pod that says no size', slicedPod()],
  ])('%s passes as it is, with a warning', (_name, pod) => {
    const { outcome, reason, patch, warnings } = slicePod(pod, lost);
    expect([outcome, reason, patch]).toEqual(['noop', 'no-namespace', undefined]);
    expect(warnings).toEqual([expect.stringContaining('the labels of the namespace are not known yet')]);
  });

  it('what a first pass has sliced stays as it is', () => {
    const { patch = [] } = slicePod(UNASKED, { ...given, policy });
    expect(slicePod(patched(UNASKED, patch), lost)).toMatchObject({ outcome: 'noop', reason: 'no-namespace' });
    expect(slicePod(patched(UNASKED, patch), lost).patch).toBeUndefined();
  });

  it('a pod that says all itself is sliced', () => {
    expect(slicePod(slicedPod({ 'penstock.dev/slice-ratio': '2' }), lost).outcome).toBe('mutated');
    expect(slicePod(slicedPod({ 'penstock.dev/workload-type': 'dev' }), lost).outcome).toBe('mutated');
    expect(slicePod(slicedPod({ 'penstock.dev/slice': 'false' }), lost)).toMatchObject({ reason: 'opted-out' });
  });
});
