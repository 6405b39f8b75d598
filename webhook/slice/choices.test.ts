// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { chooseNow, createChooser } from './choices.ts';
import type { SliceContext } from './context.ts';
import type { Ask } from './fit.ts';
import { contextOf, GIB, gpuNode, SHARED } from './fixtures.ts';
import type { PodSpec } from './pod.ts';

const ask = (ratio: number): Ask[] => [
  { container: 'main', phase: 'app', gpus: 1, size: { kind: 'ratio', ratio, from: 'a test' } },
];
const many = (count: number): SliceContext =>
  contextOf(
    Array.from({ length: count }, (_, index) =>
      gpuNode(`n${index}`, { labels: { zone: index % 2 === 0 ? 'a' : 'b' } }),
    ),
  );
const anywhere: PodSpec = { containers: [] };

describe('choices in a large cluster', () => {
  const large = many(100);
  const specs: PodSpec[] = [
    anywhere,
    { ...anywhere, nodeSelector: { zone: 'a' } },
    { ...anywhere, nodeName: 'n3' },
    { ...anywhere, tolerations: [{ key: 'x', operator: 'Exists' }] },
    {
      ...anywhere,
      affinity: {
        nodeAffinity: {
          requiredDuringSchedulingIgnoredDuringExecution: {
            nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'In', values: ['b'] }] }],
          },
        },
      },
    },
  ];

  it('are those that are made at once, however often they are asked for', () => {
    const choose = createChooser();
    for (let round = 0; round < 2; round += 1) {
      for (const spec of specs)
        for (const ratio of [1, 2, 4])
          expect(choose(spec, ask(ratio), large)).toEqual(chooseNow(spec, ask(ratio), large));
    }
  });

  it('depend on what else the pod asks for', () => {
    const choose = createChooser();
    expect(choose(anywhere, ask(1), large, new Map([['cpu', 1000]]))).toMatchObject({ kind: 'share', nodes: 100 });
    expect(choose(anywhere, ask(1), large, new Map([['cpu', 65_000]]))).toMatchObject({
      kind: 'whole',
      why: 'node n0 has 64 cpu, 65 cpu is needed',
    });
  });

  it('are remembered while the nodes are the same', () => {
    const choose = createChooser();
    const first = choose(anywhere, ask(1), large);
    expect(choose({ ...anywhere }, ask(1), { ...large })).toBe(first);
    const other = many(100);
    expect(choose(anywhere, ask(1), other)).not.toBe(first);
    expect(choose(anywhere, ask(1), { ...other, settings: { ...other.settings } })).toEqual(first);
  });

  it('of the settings before are forgotten', () => {
    const choose = createChooser();
    expect(choose(anywhere, ask(1), large)).toMatchObject({ kind: 'share', nodes: 100 });
    const nodeRequirements = [{ key: 'zone', operator: 'In' as const, values: ['a'] }];
    expect(choose(anywhere, ask(1), { ...large, settings: { ...large.settings, nodeRequirements } })).toMatchObject({
      nodes: 50,
    });
  });

  it('do not grow without bound', () => {
    const choose = createChooser();
    const first = choose({ ...anywhere, nodeName: 'first' }, ask(1), large);
    for (let index = 0; index < 600; index += 1) choose({ ...anywhere, nodeName: `x${index}` }, ask(1), large);
    expect(choose({ ...anywhere, nodeName: 'first' }, ask(1), large)).not.toBe(first);
  });
});

it('what a pod was given before makes it wait for no node that could give it again, where another serves it at once', () => {
  const away = gpuNode('away', { cardMemory: 24 * GIB, offer: { slotsPerGPU: 16 }, unschedulable: true });
  const size = { kind: 'vram' as const, bytes: 20 * GIB, from: 'a test' };
  const held = { resource: SHARED, units: 14 };
  const choice = chooseNow(anywhere, [{ ...ask(1)[0]!, size, held }], contextOf([gpuNode('here'), away]));
  expect(choice).toMatchObject({ kind: 'share', grants: [{ units: 1 }], nodes: 1 });
  expect(choice).not.toHaveProperty('waits');
});
