// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { gpuNode } from './fixtures.ts';
import { isInService, mayLandOn, meets } from './node-match.ts';
import type { NodeSelectorTerm, PodSpec, PodToleration } from './pod.ts';

const node = gpuNode('node-a', { labels: { zone: 'eu', gen: '9' } });
const containers: PodSpec['containers'] = [];
const withTerms = (...nodeSelectorTerms: NodeSelectorTerm[]): PodSpec => ({
  containers,
  affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } },
});
const zone = (value: string) => ({ key: 'zone', operator: 'In', values: [value] });

describe('where a pod may land by labels', () => {
  it.each<[string, PodSpec, boolean]>([
    ['anywhere', { containers }, true],
    ['a selector that matches', { containers, nodeSelector: { zone: 'eu' } }, true],
    ['a selector with another value', { containers, nodeSelector: { zone: 'us' } }, false],
    ['a selector of a label that is not there', { containers, nodeSelector: { disk: 'ssd' } }, false],
    ['the node by name', { containers, nodeName: 'node-a', nodeSelector: { zone: 'us' } }, true],
    ['another node by name', { containers, nodeName: 'node-b' }, false],
    ['one of two terms', withTerms({ matchExpressions: [zone('us')] }, { matchExpressions: [zone('eu')] }), true],
    ['all expressions of a term', withTerms({ matchExpressions: [zone('eu'), zone('us')] }), false],
    ['an empty term matches nothing', withTerms({}), false],
    ['no terms match nothing', withTerms(), false],
    ['affinity of preference only', { containers, affinity: { nodeAffinity: {} } }, true],
    [
      'by the field of a DaemonSet',
      withTerms({ matchFields: [{ key: 'metadata.name', operator: 'In', values: ['node-a'] }] }),
      true,
    ],
    [
      'by the field of another node',
      withTerms({ matchFields: [{ key: 'metadata.name', operator: 'In', values: ['b'] }] }),
      false,
    ],
    [
      'by a field there is not',
      withTerms({ matchFields: [{ key: 'spec.x', operator: 'In', values: ['node-a'] }] }),
      false,
    ],
  ])('%s', (_, spec, expected) => expect(mayLandOn(spec, [], node)).toBe(expected));
});

describe('operators of requirements', () => {
  it.each<[string, string[], string | undefined, boolean]>([
    ['In', ['a', 'b'], 'b', true],
    ['In', ['a'], undefined, false],
    ['NotIn', ['a'], 'b', true],
    ['NotIn', ['a'], 'a', false],
    ['NotIn', ['a'], undefined, true],
    ['Exists', [], '', true],
    ['Exists', [], undefined, false],
    ['DoesNotExist', [], undefined, true],
    ['DoesNotExist', [], 'a', false],
    ['Gt', ['8'], '9', true],
    ['Gt', ['9'], '9', false],
    ['Lt', ['10'], '9', true],
    ['Lt', ['9'], '10', false],
    ['Gt', ['8'], 'nine', false],
    ['Gt', ['x'], '9', false],
    ['Lt', ['9'], undefined, false],
    ['Near', ['9'], '9', false],
  ])('%s %j of %j: %s', (operator, values, value, expected) =>
    expect(meets({ key: 'k', operator, values }, value)).toBe(expected),
  );
});

describe('taints', () => {
  const tainted = (effect: string) => gpuNode('node-a', { taints: [{ key: 'gpu', value: '7', effect }] });
  it.each<[string, string, PodToleration[], boolean]>([
    ['keep away', 'NoSchedule', [], false],
    ['would evict', 'NoExecute', [], false],
    ['of preference do not count', 'PreferNoSchedule', [], true],
    ['tolerated by value', 'NoSchedule', [{ key: 'gpu', operator: 'Equal', value: '7', effect: 'NoSchedule' }], true],
    ['tolerated by default operator and any effect', 'NoExecute', [{ key: 'gpu', value: '7' }], true],
    ['tolerated by existence', 'NoSchedule', [{ key: 'gpu', operator: 'Exists' }], true],
    ['tolerated by everything', 'NoExecute', [{ operator: 'Exists' }], true],
    ['of another value', 'NoSchedule', [{ key: 'gpu', value: '8' }], false],
    ['of another effect', 'NoSchedule', [{ key: 'gpu', operator: 'Exists', effect: 'NoExecute' }], false],
    ['of another key', 'NoSchedule', [{ key: 'cpu', operator: 'Exists' }], false],
    ['above a number', 'NoSchedule', [{ key: 'gpu', operator: 'Gt', value: '5' }], true],
    ['below a number', 'NoSchedule', [{ key: 'gpu', operator: 'Lt', value: '5' }], false],
    ['by an operator that is not known', 'NoSchedule', [{ key: 'gpu', operator: 'Like', value: '7' }], false],
    ['by a value without key', 'NoSchedule', [{ value: '7' }], false],
  ])('%s', (_, effect, tolerations, expected) =>
    expect(mayLandOn({ containers }, tolerations, tainted(effect))).toBe(expected),
  );

  const conditions = ['unschedulable', 'not-ready', 'unreachable'];
  const taintOf = (condition: string) => ({ key: `node.kubernetes.io/${condition}`, effect: 'NoSchedule' });
  it.each(conditions)('of a passing condition do not keep away for good, but at this moment: %s', (condition) => {
    const away = gpuNode('node-a', { taints: [taintOf(condition)] });
    expect(mayLandOn({ containers }, [], away)).toBe(true);
    expect(isInService([], away)).toBe(false);
    expect(isInService([{ key: 'gpu', operator: 'Exists' }], away)).toBe(false);
    expect(isInService([{ operator: 'Exists' }], away)).toBe(true);
    expect(isInService([{ ...taintOf(condition), operator: 'Exists' }], away)).toBe(true);
  });
  it('a cordoned node is out of service before it has its taint', () => {
    const cordoned = gpuNode('node-a', { unschedulable: true });
    expect(isInService([], cordoned)).toBe(false);
    expect(isInService([{ ...taintOf('unschedulable'), operator: 'Exists' }], cordoned)).toBe(true);
  });
  it('of other kinds are no matter of service', () => {
    expect(isInService([], tainted('NoSchedule'))).toBe(true);
    expect(isInService([], gpuNode('a', { taints: [{ ...taintOf('not-ready'), effect: 'PreferNoSchedule' }] }))).toBe(
      true,
    );
  });
});
