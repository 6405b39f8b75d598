// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { InferenceAppGpu } from '#crds/inference-app.gen.ts';
import { gpuResource, sliceAnnotations } from './slice.ts';

type Slice = NonNullable<InferenceAppGpu['slice']>;

describe('the slice of an app', () => {
  it.each<[string, Slice | undefined, Record<string, string>, string]>([
    ['is left to the policy of the cluster when it says nothing', undefined, {}, 'nvidia.com/gpu'],
    ['is none, whatever the policy says', { mode: 'Exclusive' }, { slice: 'false' }, 'nvidia.com/gpu'],
    ['is none by the other word, too', { mode: 'Isolated' }, { slice: 'false' }, 'nvidia.com/gpu'],
    ['is what the policy gives to whoever opts in', { mode: 'Shared' }, { slice: 'true' }, 'nvidia.com/gpu'],
    ['is slots', { mode: 'Shared', slots: 3 }, { slice: 'true', 'slice-ratio': '3' }, 'nvidia.com/gpu'],
    ['is memory', { mode: 'Shared', memory: '10Gi' }, { slice: 'true', vram: '10Gi' }, 'nvidia.com/gpu'],
    ['is memory in bytes', { mode: 'Shared', memory: 1024 }, { slice: 'true', vram: '1024' }, 'nvidia.com/gpu'],
    ['is a MIG instance', { mode: 'MIG', profile: '1g.10gb' }, { slice: 'false' }, 'nvidia.com/mig-1g.10gb'],
  ])('%s', (_what, slice, annotations, resource) => {
    const gpu: InferenceAppGpu = { count: 1, ...(slice === undefined ? {} : { slice }) };
    const wanted = Object.entries(annotations).map(([key, value]) => [`penstock.dev/${key}`, value]);
    expect(sliceAnnotations(gpu)).toEqual(Object.fromEntries(wanted));
    expect(gpuResource(gpu)).toBe(resource);
  });

  it('is nothing without a GPU', () => {
    expect(sliceAnnotations(undefined)).toEqual({});
  });
});
