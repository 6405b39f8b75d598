// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { applyPatch } from 'fast-json-patch';
import { joinSlices } from './ephemeral.ts';
import { contextOf, gpuContainer, gpuNode, slicedPod } from './fixtures.ts';
import type { EphemeralContainer, Pod, PodSpec } from './pod.ts';
import { slicePod } from './slice-pod.ts';

const OURS = '/penstock/vram/lib/libpenstock_vram.so:/penstock/vram/lib/libpenstock_nvml.so';

function running(spec: Partial<PodSpec> = {}): Pod {
  const pod = slicedPod({}, spec);
  const { patch = [] } = slicePod(pod, contextOf([gpuNode('big')]));
  return applyPatch(structuredClone(pod), structuredClone([...patch])).newDocument;
}

function debug(pod: Pod, ...ephemeralContainers: EphemeralContainer[]): Pod {
  return { ...pod, spec: { ...pod.spec, ephemeralContainers } };
}

const shell: EphemeralContainer = { name: 'debugger', image: 'tools:1', targetContainerName: 'main' };
const mountsOf = (number: number) => [
  { name: 'penstock-vram-lib', mountPath: '/penstock/vram/lib', readOnly: true },
  { name: `penstock-vram-${number}`, mountPath: '/penstock/vram/region' },
  { name: `penstock-quota-${number}`, mountPath: '/penstock/vram/quota', readOnly: true },
];

describe('an ephemeral container', () => {
  const untouched = { operations: [], warnings: [], limited: 0, unlimited: 0 };
  const one = running();
  const two = running({ containers: [gpuContainer('main'), gpuContainer('side'), { name: 'web' }] });

  it('gets the environment and the mounts of its target, nothing else', () => {
    const { operations, warnings } = joinSlices(debug(one, shell), one);
    expect(operations).toEqual([
      { op: 'add', path: '/spec/ephemeralContainers/0/env', value: [{ name: 'LD_PRELOAD', value: OURS }] },
      { op: 'add', path: '/spec/ephemeralContainers/0/volumeMounts', value: mountsOf(0) },
    ]);
    expect(warnings).toEqual([
      'penstock: debugger: if the image sets LD_PRELOAD, that is not kept; state it in env where the program needs it',
    ]);
    for (const operation of operations) expect(JSON.stringify(operation)).not.toContain('subPath');
  });

  it('shares the region of the container it names', () => {
    const { operations } = joinSlices(debug(two, { ...shell, targetContainerName: 'side' }), two);
    expect(operations[1]).toMatchObject({ value: mountsOf(1) });
  });

  it('without a target shares that of the only one there is', () => {
    const { targetContainerName: _, ...untargeted } = shell;
    expect(joinSlices(debug(one, untargeted), one).operations).toHaveLength(2);
  });

  it('is left alone when it looks into a container without a slice', () => {
    expect(joinSlices(debug(two, { ...shell, targetContainerName: 'web' }), two)).toEqual(untouched);
  });

  it('is left alone in a pod without slices', () => {
    const plain = { ...slicedPod(), spec: { containers: [{ name: 'main' }] } };
    expect(joinSlices(debug(plain, shell), plain)).toEqual(untouched);
  });

  it('without a target among several is warned about', () => {
    const { operations, warnings } = joinSlices(debug(two, { name: 'debugger' }), two);
    expect(operations).toEqual([]);
    expect(warnings).toEqual([
      'penstock: debugger: its GPU memory is not limited: several containers have slices; name one with --target',
    ]);
  });

  it('that is there already is not changed: the API server would refuse it', () => {
    const before = debug(one, shell);
    const { operations } = joinSlices(debug(one, shell, { ...shell, name: 'second' }), before);
    expect(operations.map(({ path }) => path)).toEqual([
      '/spec/ephemeralContainers/1/env',
      '/spec/ephemeralContainers/1/volumeMounts',
    ]);
  });

  it('is patched once', () => {
    const given = debug(one, shell);
    const { operations } = joinSlices(given, one);
    const after = applyPatch(structuredClone(given), structuredClone(operations)).newDocument;
    expect(joinSlices(after, one).operations).toEqual([]);
  });

  it('with a mount of its own in our place is warned about', () => {
    const own = { ...shell, volumeMounts: [{ name: 'data', mountPath: '/penstock/vram/lib' }] };
    const { operations, warnings } = joinSlices(debug(one, own), one);
    expect(operations).toEqual([]);
    expect(warnings[0]).toContain('not limited: container debugger mounts a volume');
  });

  it('is counted by whether a limit holds it, once', () => {
    const given = debug(two, shell, { ...shell, name: 'second' }, { name: 'third' });
    const { operations, limited, unlimited } = joinSlices(given, two);
    expect([limited, unlimited]).toEqual([2, 1]);
    const after = applyPatch(structuredClone(given), structuredClone(operations)).newDocument;
    expect(joinSlices(after, two)).toMatchObject({ operations: [], limited: 0, unlimited: 1 });
  });

  it('among thousands is not looked at, in little time', () => {
    const many = Array.from({ length: 8000 }, (_, index) => ({ ...shell, name: `d${index}` }));
    const containers = Array.from({ length: 8000 }, (_, index) => ({ ...one.spec.containers[0]!, name: `c${index}` }));
    const before = performance.now();
    expect(joinSlices({ ...one, spec: { ...one.spec, containers, ephemeralContainers: many } }, one)).toEqual({
      ...untouched,
      warnings: ['penstock: not looked at: it has 16000 containers, more than 512'],
    });
    expect(performance.now() - before).toBeLessThan(200);
  });
});
