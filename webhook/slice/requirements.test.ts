// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { GIB, gpuNode } from './fixtures.ts';
import type { GpuNode } from './inventory.ts';
import { ofOneKind } from './kinds.ts';
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
const shares = (slots: number, quota = 3 * GIB) => [{ slots, quota, isInstance: false }];
const one = shares(1);
const two = shares(2);
const names = (...args: Parameters<typeof ofOneKind>) => ofOneKind(...args).map(({ name }) => name);

describe('labels that can be required at once', () => {
  const large = [kind('a', 81_920, 8), kind('b', 81_920, 8)];
  const small = kind('c', 24_576, 2);
  it('of kinds whose labels would let in a smaller slot only those of the most nodes are kept', () => {
    expect(names([...large, small], shares(1, 10 * GIB))).toEqual(['a', 'b']);
    expect(names([large[0]!, small, kind('d', 24_576, 2)], shares(1, 10 * GIB))).toEqual(['c', 'd']);
    // The card of the small one, split as the large ones are, has 3 GiB for a slot.
    expect(names([...large, small], shares(1, 3 * GIB))).toEqual(['a', 'b', 'c']);
  });
  it('an instance of MIG has its memory of its own', () => {
    expect(names([...large, small], [{ slots: 1, quota: 10 * GIB, isInstance: true }])).toEqual(['a', 'b', 'c']);
  });
  it('a node without them does not undo them, unless such nodes are the most', () => {
    expect(names([...large, gpuNode('bare')], one)).toEqual(['a', 'b']);
    const bare = ['x', 'y', 'z'].map((name) => gpuNode(name));
    expect(names([...large, ...bare], one)).toEqual(['a', 'b', 'x', 'y', 'z']);
    expect(names(bare, one)).toEqual(['x', 'y', 'z']);
  });
});

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

  it('where they are many, by the labels by which people tell them apart', () => {
    const crowd = (more: Partial<GpuNode>) =>
      Array.from({ length: 65 }, (_one, index) => gpuNode(`x${index}`, { labels: { pool: 'own' }, ...more }));
    const ours = gpuNode('a', { labels: { pool: 'shared' } });
    expect(text([ours], crowd({ selectedBy: ['pool'] }), one)).toEqual(['pool NotIn own']);
    expect(text([ours], crowd({ taints: [{ key: 'pool', effect: 'NoSchedule' }] }), one)).toEqual(['pool NotIn own']);
    expect(text([gpuNode('a', { labels: { pool: 'own' } })], crowd({ selectedBy: ['pool'] }), one)).toBeUndefined();
    const rest = gpuNode('rest');
    expect(text([ours], [...crowd({ selectedBy: ['pool'] }), rest], one)).toEqual([
      'pool NotIn own',
      'kubernetes.io/hostname NotIn rest',
    ]);
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
