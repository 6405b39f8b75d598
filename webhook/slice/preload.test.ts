// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { contextOf, gpuContainer, gpuNode, patched, slicedPod } from './fixtures.ts';
import type { Container, Pod } from './pod.ts';
import { slicePod } from './slice-pod.ts';
const nodes = [gpuNode('big')];
const context = contextOf(nodes);
const PRELOAD = '/penstock/vram/lib/libpenstock_vram.so:/penstock/vram/lib/libpenstock_nvml.so';

function sliced(pod: Pod): Pod {
  const { outcome, patch = [] } = slicePod(pod, context);
  expect(outcome).toBe('mutated');
  return patched(pod, patch);
}

const main = (pod: Pod): Container => pod.spec.containers[0]!;

describe('LD_PRELOAD', () => {
  const withEnv = (changes: Partial<Container>): Pod =>
    slicedPod({}, { containers: [gpuContainer('main', 1, changes)] });
  it.each<[string, Partial<Container>, Partial<Container>]>([
    ['an empty list', { env: [] }, { env: [{ name: 'LD_PRELOAD', value: PRELOAD }] }],
    [
      'other variables',
      { env: [{ name: 'A', value: 'b' }] },
      {
        env: [
          { name: 'A', value: 'b' },
          { name: 'LD_PRELOAD', value: PRELOAD },
        ],
      },
    ],
    [
      'a literal',
      { env: [{ name: 'LD_PRELOAD', value: '/a.so /b.so' }] },
      { env: [{ name: 'LD_PRELOAD', value: `${PRELOAD}:/a.so /b.so` }] },
    ],
    [
      'an empty literal',
      { env: [{ name: 'LD_PRELOAD', value: '' }] },
      { env: [{ name: 'LD_PRELOAD', value: PRELOAD }] },
    ],
    ['an entry without value', { env: [{ name: 'LD_PRELOAD' }] }, { env: [{ name: 'LD_PRELOAD', value: PRELOAD }] }],
    [
      'ours already',
      { env: [{ name: 'LD_PRELOAD', value: `/first.so:${PRELOAD}` }] },
      { env: [{ name: 'LD_PRELOAD', value: `/first.so:${PRELOAD}` }] },
    ],
    [
      'half of ours',
      { env: [{ name: 'LD_PRELOAD', value: '/a.so:/penstock/vram/lib/libpenstock_nvml.so' }] },
      { env: [{ name: 'LD_PRELOAD', value: `${PRELOAD}:/a.so` }] },
    ],
    [
      'the last of two',
      {
        env: [
          { name: 'LD_PRELOAD', value: '/a.so' },
          { name: 'LD_PRELOAD', value: '$(LD_PRELOAD):/b.so' },
        ],
      },
      {
        env: [
          { name: 'LD_PRELOAD', value: '/a.so' },
          { name: 'LD_PRELOAD', value: `${PRELOAD}:$(LD_PRELOAD):/b.so` },
        ],
      },
    ],
    [
      'a reference, before what refers to it',
      {
        env: [
          { name: 'LD_PRELOAD', valueFrom: { configMapKeyRef: { name: 'c', key: 'k' } } },
          { name: 'B', value: '$(LD_PRELOAD)' },
        ],
      },
      {
        env: [
          { name: 'PENSTOCK_FORMER_LD_PRELOAD', valueFrom: { configMapKeyRef: { name: 'c', key: 'k' } } },
          { name: 'LD_PRELOAD', value: `${PRELOAD}:$(PENSTOCK_FORMER_LD_PRELOAD)` },
          { name: 'B', value: '$(LD_PRELOAD)' },
        ],
      },
    ],
    [
      'an optional reference, that may turn out to be nothing',
      { env: [{ name: 'LD_PRELOAD', valueFrom: { secretKeyRef: { name: 's', key: 'k', optional: true } } }] },
      {
        env: [
          { name: 'PENSTOCK_FORMER_LD_PRELOAD', value: '' },
          {
            name: 'PENSTOCK_FORMER_LD_PRELOAD',
            valueFrom: { secretKeyRef: { name: 's', key: 'k', optional: true } },
          },
          { name: 'LD_PRELOAD', value: `${PRELOAD}:$(PENSTOCK_FORMER_LD_PRELOAD)` },
        ],
      },
    ],
    [
      'a reference whose new name is taken',
      {
        env: [
          { name: 'PENSTOCK_FORMER_LD_PRELOAD', value: 'x' },
          { name: 'LD_PRELOAD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
        ],
      },
      {
        env: [
          { name: 'PENSTOCK_FORMER_LD_PRELOAD', value: 'x' },
          { name: 'PENSTOCK_FORMER_LD_PRELOAD_2', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
          { name: 'LD_PRELOAD', value: `${PRELOAD}:$(PENSTOCK_FORMER_LD_PRELOAD_2)` },
        ],
      },
    ],
  ])('%s', (_, before, after) => {
    expect(main(sliced(withEnv(before)))).toMatchObject(after);
  });

  const image =
    'penstock: main: if the image sets LD_PRELOAD, that is not kept; state it in env where the program needs it';
  const either = image.replace('the image', 'envFrom or the image');
  it.each<[string, Partial<Container>, string[]]>([
    ['of the image', {}, [image]],
    ['of envFrom', { envFrom: [{ configMapRef: { name: 'c' } }] }, [either]],
    [
      'of envFrom with a prefix it may begin with',
      { envFrom: [{ prefix: 'LD_', configMapRef: { name: 'c' } }] },
      [either],
    ],
    ['of envFrom with another prefix', { envFrom: [{ prefix: 'APP_', configMapRef: { name: 'c' } }] }, [image]],
    [
      'nothing, where env states it',
      { env: [{ name: 'LD_PRELOAD', value: '/a.so' }], envFrom: [{ configMapRef: { name: 'c' } }] },
      [],
    ],
    [
      'nothing of an optional reference',
      { env: [{ name: 'LD_PRELOAD', valueFrom: { secretKeyRef: { name: 's', key: 'k', optional: true } } }] },
      [],
    ],
  ])('warns %s', (_, changes, warnings) => expect(slicePod(withEnv(changes), context).warnings).toEqual(warnings));

  it('is warned about once, whatever the number of containers', () => {
    const names = ['a', 'b', 'c', 'd', 'e'];
    const pod = slicedPod({}, { containers: names.map((name) => gpuContainer(name)) });
    const { warnings } = slicePod(pod, contextOf([gpuNode('big', { offer: { slotsPerGPU: 8 } })]));
    expect(warnings).toEqual([
      'penstock: a, b, c, d and 1 more: if the image sets LD_PRELOAD, that is not kept; state it in env where the program needs it',
    ]);
  });
});
