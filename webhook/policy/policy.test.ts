// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { compileSelector } from './label-selector.ts';
import type { LabelSelector } from './label-selector.ts';
import { readPolicyDocument } from './policy-document.ts';
import { NO_POLICY, compilePolicy, decide } from './policy.ts';

describe('label selectors', () => {
  const labels = { team: 'a', tier: 'gold', empty: '' };
  test.each<[string, LabelSelector | undefined, boolean]>([
    ['none matches everything', undefined, true],
    ['an empty one matches everything', {}, true],
    ['empty parts match everything', { matchLabels: {}, matchExpressions: [] }, true],
    ['a label that is equal', { matchLabels: { team: 'a' } }, true],
    ['a label that is not', { matchLabels: { team: 'b' } }, false],
    ['one of two labels only', { matchLabels: { team: 'a', tier: 'silver' } }, false],
    ['an empty value is a value', { matchLabels: { empty: '' } }, true],
    ['a missing label is not an empty one', { matchLabels: { other: '' } }, false],
    ['In', { matchExpressions: [{ key: 'team', operator: 'In', values: ['b', 'a'] }] }, true],
    ['In without it', { matchExpressions: [{ key: 'team', operator: 'In', values: ['b'] }] }, false],
    ['In of a missing label', { matchExpressions: [{ key: 'other', operator: 'In', values: ['a'] }] }, false],
    ['NotIn', { matchExpressions: [{ key: 'team', operator: 'NotIn', values: ['a'] }] }, false],
    ['NotIn without it', { matchExpressions: [{ key: 'team', operator: 'NotIn', values: ['b'] }] }, true],
    ['NotIn of a missing label', { matchExpressions: [{ key: 'other', operator: 'NotIn', values: ['a'] }] }, true],
    ['Exists', { matchExpressions: [{ key: 'empty', operator: 'Exists' }] }, true],
    ['Exists of a missing label', { matchExpressions: [{ key: 'other', operator: 'Exists' }] }, false],
    ['DoesNotExist', { matchExpressions: [{ key: 'team', operator: 'DoesNotExist' }] }, false],
    ['DoesNotExist of a missing label', { matchExpressions: [{ key: 'other', operator: 'DoesNotExist' }] }, true],
    ['a name that every object has', { matchExpressions: [{ key: 'constructor', operator: 'Exists' }] }, false],
    [
      'labels and expressions must all hold',
      { matchLabels: { team: 'a' }, matchExpressions: [{ key: 'tier', operator: 'In', values: ['silver'] }] },
      false,
    ],
  ])('%s', (_name, selector, want) => {
    expect(compileSelector(selector)?.(labels) ?? true).toBe(want);
  });
});

describe('rules', () => {
  const policy = compilePolicy(
    readPolicyDocument(`
version: 1
rules:
  - { name: whole, podSelector: { matchLabels: { gpu: whole } }, action: ignore }
  - { name: research, namespaceSelector: { matchLabels: { team: research } }, action: slice, vram: 1.5Gi }
  - { name: batch, podSelector: { matchLabels: { kind: batch } }, action: slice, ratio: 3, dryRun: true }
  - { name: rest, action: slice, workloadType: dev }
`),
  );
  const cases: Record<string, [Parameters<typeof decide>[1], Record<string, string>, unknown]> = {
    'the first that matches holds': [{ team: 'research' }, { gpu: 'whole' }, { rule: 'whole', action: 'ignore' }],
    'by the namespace': [
      { team: 'research' },
      { kind: 'batch' },
      { rule: 'research', action: 'slice', vram: 1.5 * 2 ** 30 },
    ],
    'by the pod': [{}, { kind: 'batch' }, { rule: 'batch', action: 'slice', ratio: 3, dryRun: true }],
    'a rule without selectors takes the rest': [{}, {}, { rule: 'rest', action: 'slice', workloadType: 'dev' }],
    'a namespace that is not known does not matter before a rule asks for it': [
      undefined,
      { gpu: 'whole' },
      { rule: 'whole', action: 'ignore' },
    ],
    'and nothing is said after that': [undefined, { kind: 'batch' }, 'unknown'],
  };
  test.each(Object.entries(cases))('%s', (_name, [namespace, pod, want]) => {
    expect(decide(policy, namespace, pod)).toEqual(want);
  });

  test('no rule matches: nothing is said', () => {
    const only = compilePolicy(
      readPolicyDocument('version: 1\nrules: [{ name: a, podSelector: { matchLabels: { a: b } }, action: slice }]'),
    );
    expect(decide(only, {}, {})).toBeUndefined();
    expect(decide(NO_POLICY, undefined, {})).toBeUndefined();
  });
});

describe('settings', () => {
  test('without a document nodes are believed and the usual names hold', () => {
    expect(NO_POLICY).toMatchObject({
      nodes: { gpuResource: 'nvidia.com/gpu', sharedResources: [] },
      slices: {
        gpuResource: 'nvidia.com/gpu',
        preference: ['nvidia.com/gpu.shared'],
        tolerations: [],
        nodeRequirements: [],
      },
      delivery: { strategy: 'auto', betaImageVolumes: false, namespaces: [] },
      rules: [],
      readsNamespaces: false,
    });
  });

  test('memory becomes bytes, the order of resources their preference', () => {
    const text = 'version: 1\nsharedResources: [{ name: a.b/x, memoryPerSlot: 10Gi }, { name: a.b/c, slotsPerGPU: 2 }]';
    const { nodes, slices } = compilePolicy(readPolicyDocument(text));
    expect(nodes.sharedResources).toEqual([
      { name: 'a.b/x', memoryPerSlot: 10 * 2 ** 30 },
      { name: 'a.b/c', slotsPerGPU: 2 },
    ]);
    expect(slices.preference).toEqual(['a.b/x', 'a.b/c']);
  });

  test.each([
    ['version: 1\nrules: [{ name: a, namespaceSelector: { matchLabels: { a: b } }, action: slice }]', true],
    ['version: 1\nrules: [{ name: a, namespaceSelector: {}, action: slice }]', false],
    ['version: 1\ndelivery: { namespaces: [{ namespaceSelector: { matchLabels: { a: b } }, strategy: init }] }', true],
  ])('whether labels of namespaces are needed: %j', (text, want) => {
    expect(compilePolicy(readPolicyDocument(text)).readsNamespaces).toBe(want);
  });
});
