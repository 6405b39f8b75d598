// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { contextOf, gpuContainer, gpuNode, patched, slicedPod } from './fixtures.ts';
import type { Container, EnvVar, PodSpec } from './pod.ts';
import { slicePod } from './slice-pod.ts';

const context = contextOf([gpuNode('big')]);
const NAME = 'NVIDIA_VISIBLE_DEVICES';
const warned = (spec: Partial<PodSpec>): string[] =>
  slicePod(slicedPod({}, spec), context).warnings.filter((text) => text.includes(NAME));
const withEnv = (name: string, ...env: EnvVar[]): Container => ({ name, env });

describe('a pod that names the GPUs that its containers see', () => {
  const all = { name: NAME, value: 'all' };
  it.each<[string, Partial<PodSpec>, string[]]>([
    ['in a sliced container', { containers: [gpuContainer('main', 1, { env: [all] })] }, ['main']],
    ['beside one', { containers: [gpuContainer('main'), withEnv('side', all)] }, ['side']],
    [
      'in several, init containers too',
      { initContainers: [withEnv('first', all)], containers: [gpuContainer('main', 1, { env: [all] })] },
      ['first, main'],
    ],
    [
      'by the last entry',
      {
        containers: [
          gpuContainer('main', 1, {
            env: [
              { name: NAME, value: 'void' },
              { name: NAME, value: '0' },
            ],
          }),
        ],
      },
      ['main'],
    ],
    [
      'from elsewhere',
      { containers: [gpuContainer('main', 1, { env: [{ name: NAME, valueFrom: { fieldRef: {} } }] })] },
      ['main'],
    ],
    [
      'in many',
      { containers: [gpuContainer('main'), ...['a', 'b', 'c', 'd', 'e'].map((name) => withEnv(name, all))] },
      ['a, b, c, d and 1 more'],
    ],
    [
      'as none',
      {
        containers: [
          gpuContainer('main', 1, { env: [{ name: NAME, value: 'none' }] }),
          withEnv('a', { name: NAME, value: 'void' }),
          withEnv('b', { name: NAME }),
          withEnv('c', all, { name: NAME, value: '' }),
          withEnv('d', { name: 'CUDA_VISIBLE_DEVICES', value: '0' }),
        ],
      },
      [],
    ],
  ])('%s', (_, spec, of) =>
    expect(warned(spec)).toEqual(
      of.map((names) => `penstock: ${names}: env ${NAME} can open GPUs beyond the slots, without a limit; take it out`),
    ),
  );

  it('is warned about once: a second pass is silent', () => {
    const pod = slicedPod({}, { containers: [gpuContainer('main', 1, { env: [all] })] });
    expect(slicePod(patched(pod, slicePod(pod, context).patch), context).warnings).toEqual([]);
  });

  it('is not warned about without a slice', () => {
    expect(slicePod({ ...slicedPod(), spec: { containers: [withEnv('main', all)] } }, context).warnings).toEqual([
      expect.stringContaining('nothing to slice'),
    ]);
  });
});
