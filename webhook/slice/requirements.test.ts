// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { gpuNode } from './fixtures.ts';
import { meets } from './node-match.ts';
import { requirementsFor } from './requirements.ts';

const kind = (name: string, mebibytes: number, replicas: number, cards = 1) =>
  gpuNode(name, {
    cards,
    labels: {
      'nvidia.com/gpu.memory': String(mebibytes),
      'nvidia.com/gpu.replicas': String(replicas),
      'nvidia.com/gpu.count': String(cards),
    },
  });
const text = (...args: Parameters<typeof requirementsFor>) =>
  requirementsFor(...args)?.map(({ key, operator, values }) => `${key} ${operator} ${values?.join()}`);
const one = [{ slots: 1 }];
const two = [{ slots: 2 }];

describe('a sliced pod may go to nodes of the kinds for which its quota was reckoned', () => {
  const known = [kind('a', 81_559, 4), kind('b', 24_564, 4), kind('c', 81_559, 8)];
  it('by slots, memory and, for several slots, one card', () => {
    const pinned = ['nvidia.com/gpu.replicas In 4,8', 'nvidia.com/gpu.memory Gt 24563'];
    expect(text(known, [], one)).toEqual(pinned);
    expect(text(known, [], two)).toEqual([...pinned, 'nvidia.com/gpu.count In 1']);
  });

  it.each<[string, ReturnType<typeof kind>, boolean]>([
    ['of the same kind', kind('new', 24_564, 4), true],
    ['with more memory', kind('new', 141_000, 8), true],
    ['with a smaller card', kind('new', 16_000, 4), false],
    ['split into more slots', kind('new', 81_559, 16), false],
    ['with several cards', kind('new', 81_559, 4, 2), false],
    ['without labels', gpuNode('new'), false],
  ])('a node that joins later %s: %s', (_, node, taken) => {
    const requirements = requirementsFor(known, [], two) ?? [];
    expect(requirements.every((requirement) => meets(requirement, node.labels[requirement.key]))).toBe(taken);
  });

  it('is told by labels that all of them have, and that are numbers', () => {
    expect(text([kind('a', 81_559, 4), gpuNode('bare')], [], one)).toEqual([]);
    expect(
      text([gpuNode('odd', { labels: { 'nvidia.com/gpu.memory': 'lots', 'nvidia.com/gpu.replicas': '4' } })], [], one),
    ).toEqual(['nvidia.com/gpu.replicas In 4']);
  });

  it('not by the number of cards where the plugin packs', () => {
    expect(text([kind('a', 81_559, 4, 2)], [], two)).toEqual([
      'nvidia.com/gpu.replicas In 4',
      'nvidia.com/gpu.memory Gt 81558',
    ]);
  });
});

describe('and to none that has the resource but cannot serve it', () => {
  it('by the label that tells why', () => {
    expect(text([kind('a', 81_559, 8)], [kind('b', 81_559, 4)], one)).toEqual([
      'nvidia.com/gpu.replicas In 8',
      'nvidia.com/gpu.memory Gt 81558',
    ]);
    const strategies = ['mps', 'time-slicing'].map((strategy) =>
      gpuNode(strategy, { labels: { 'nvidia.com/gpu.sharing-strategy': strategy } }),
    );
    expect(text(strategies.slice(1), strategies.slice(0, 1), one)).toEqual([
      'nvidia.com/gpu.sharing-strategy In time-slicing',
    ]);
  });

  it('at last by name', () => {
    expect(text([gpuNode('a')], [gpuNode('c'), gpuNode('b')], one)).toEqual(['kubernetes.io/hostname NotIn b,c']);
  });

  it('not where it bears the same name, has none, or there are too many', () => {
    const twin = gpuNode('b', { labels: { 'kubernetes.io/hostname': 'a' } });
    const { 'kubernetes.io/hostname': _, ...labels } = gpuNode('b').labels;
    expect(text([gpuNode('a')], [twin], one)).toBeUndefined();
    expect(text([gpuNode('a')], [{ ...gpuNode('b'), labels }], one)).toBeUndefined();
    expect(
      text(
        [gpuNode('a')],
        Array.from({ length: 65 }, (_one, index) => gpuNode(`x${index}`)),
        one,
      ),
    ).toBeUndefined();
  });
});
