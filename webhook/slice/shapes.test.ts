// SPDX-License-Identifier: Apache-2.0
// Pods of many containers, of large ones, of what the init container asks for, and of dry runs.
import { describe, expect, it } from 'vitest';
import type { SliceContext } from './context.ts';
import { contextOf, GIB, gpuContainer, gpuNode, patched, slicedPod } from './fixtures.ts';
import type { Container, Pod, PodSpec } from './pod.ts';
import { slicePod } from './slice-pod.ts';

const context = contextOf([gpuNode('big')]);
const PRELOAD = '/penstock/vram/lib/libpenstock_vram.so:/penstock/vram/lib/libpenstock_nvml.so';

function sliced(pod: Pod, given: SliceContext = context): Pod {
  const result = slicePod(pod, given);
  expect(result.outcome).toBe('mutated');
  return patched(pod, result.patch);
}

const main = (pod: Pod): Container => pod.spec.containers[0]!;
const valueOf = (container: Container, name: string): string | undefined =>
  container.env?.findLast((one) => one.name === name)?.value;

describe('what the init container asks for', () => {
  const delivery = { kind: 'init', image: 'vram:1' } as const;
  const asking = (...resources: NonNullable<Container['resources']>[]): Container[] =>
    resources.map(({ limits, requests }, index) => ({
      name: `c${index}`,
      resources: { limits: { 'nvidia.com/gpu': '1', ...limits }, ...(requests ? { requests } : {}) },
    }));
  const all = (cpu: string, memory: string) => ({ limits: { cpu, memory }, requests: { cpu, memory } });
  it.each<[string, Partial<PodSpec>, Container['resources']]>([
    ['nothing where no container does: best effort stays that', { containers: asking({}) }, {}],
    [
      'no less than the smallest does: a LimitRange may demand it',
      { containers: asking({ limits: { cpu: '2', memory: '4Gi' } }, { limits: { cpu: '100m', memory: '64Mi' } }) },
      all('100m', '64Mi'),
    ],
    [
      'what a copy needs, where a container asks for as much',
      { containers: asking({ limits: { cpu: '5m', memory: '1Mi' } }, { limits: { cpu: '1', memory: '1Gi' } }) },
      all('50m', '32Mi'),
    ],
    [
      'no more than the largest does: a LimitRange may forbid it',
      { containers: asking({ limits: { cpu: '5m', memory: '8Mi' } }, { limits: { cpu: '20m', memory: '16Mi' } }) },
      all('20m', '16Mi'),
    ],
    [
      'what is requested, where limits are above it',
      { containers: asking({ limits: { cpu: '1', memory: '1Gi' }, requests: { cpu: '200m', 'nvidia.com/gpu': '1' } }) },
      all('200m', '1Gi'),
    ],
    [
      'only of what somebody asks for',
      { containers: asking({ limits: { memory: '1Gi' } }) },
      { limits: { memory: '1Gi' }, requests: { memory: '1Gi' } },
    ],
    [
      'nothing where the pod asks as a whole',
      { containers: asking({ limits: { cpu: '1' } }), resources: { limits: { cpu: '20m' } } },
      {},
    ],
  ])('is %s', (_, spec, expected) => {
    const pod = sliced(slicedPod({}, spec), contextOf([gpuNode('big')], { delivery }));
    expect(pod.spec.initContainers?.[0]?.resources).toEqual(expected);
  });
});

describe('a pod that is more than is looked at stays whole, with a warning', () => {
  const terms = (count: number, values: number): PodSpec['affinity'] => {
    const list = Array.from({ length: values }, (_, at) => `v${at}`);
    const term = { matchExpressions: [{ key: 'k', operator: 'NotIn', values: list }] };
    const nodeSelectorTerms = Array.from({ length: count }, () => term);
    return { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } };
  };
  const many = <T>(length: number, make: (index: number) => T): T[] =>
    Array.from({ length }, (_, index) => make(index));
  it.each<[Partial<PodSpec>, string]>([
    [{ affinity: terms(65, 1)! }, 'its node affinity has 65 terms, more than 64'],
    [
      { affinity: terms(2, 600)! },
      'its node affinity, node selector and tolerations have 1202 entries, more than 1024',
    ],
    [
      { tolerations: many(1025, (index) => ({ key: `k${index}` })) },
      'its node affinity, node selector and tolerations have 1025 entries, more than 1024',
    ],
    [
      { containers: [gpuContainer('main'), ...many(512, (index) => ({ name: `c${index}` }))] },
      'it has 513 containers, more than 512',
    ],
    [{ containers: many(17, (index) => gpuContainer(`c${index}`)) }, 'it has 17 containers with GPUs, more than 16'],
    [
      {
        overhead: Object.fromEntries(many(65, (index) => [`example.com/r${index}`, '1'])),
      },
      'it asks for more than 64 kinds of resources',
    ],
  ])('%#: %s', (spec, why) => {
    const pod = slicedPod({}, spec);
    expect(slicePod(pod, context)).toMatchObject({ outcome: 'noop', reason: 'too-large', wholeBecause: why });
    const { slice: _, ...nobody } = { slice: undefined, ...pod, metadata: { name: 'pod' } };
    expect(slicePod(nobody, context)).toMatchObject({ outcome: 'noop', reason: 'too-large', warnings: [] });
  });

  it('as does one whose annotations leave no room for ours: it would be refused', () => {
    const filled = slicedPod({ 'example.com/large': 'ä'.repeat((256 * 1024 - 200) / 2) });
    expect(slicePod(filled, context)).toMatchObject({
      reason: 'malformed',
      wholeBecause: 'its annotations leave no room for what is written about slices',
    });
    expect(slicePod(slicedPod({ 'example.com/large': 'x'.repeat(255 * 1024) }), context).outcome).toBe('mutated');
  });

  /** Of an earlier slice, all of it forged: a record of as many resources as fit, and mounts to match. */
  const forged = (containers: number): Pod => {
    const given = many(1550, (index) => [`c${index}`, [1, `r${index}`, 1]]);
    const record = JSON.stringify({ v: 1, containers: Object.fromEntries(given) });
    const volumeMounts = [{ name: 'penstock-vram-1', mountPath: '/penstock/vram/region' }];
    const resources = { limits: { 'example.com/x': '1' } };
    return slicedPod(
      { 'penstock.dev/sliced': record },
      { containers: many(containers, (index) => ({ name: `x${index}`, resources, volumeMounts })) },
    );
  };
  const took = (what: () => unknown): number => {
    const before = performance.now();
    what();
    return performance.now() - before;
  };

  it('nor is anything taken out of it, in little time', () => {
    expect(took(() => slicePod(forged(512), context))).toBeLessThan(500);
    expect(took(() => slicePod(forged(20_000), context))).toBeLessThan(50);
    expect(slicePod(forged(20_000), context)).toMatchObject({
      outcome: 'noop',
      reason: 'too-large',
      warnings: ['penstock: not sliced, keeps its whole GPUs: it has 20000 containers, more than 512'],
    });
    expect(slicePod(forged(20_000), context).patch).toBeUndefined();
  });

  it('also of annotations, in little time', () => {
    const keys = Object.fromEntries(many(30_000, (index) => [`penstock.dev/slice${index}`, 'x']));
    const before = performance.now();
    expect(slicePod(slicedPod(keys), context)).toMatchObject({
      outcome: 'noop',
      wholeBecause: 'it has 30001 annotations, more than 4096',
    });
    // It took ten seconds to compare them all.
    expect(performance.now() - before).toBeLessThan(1000);
  });
});

describe('a dry run', () => {
  const dry = { 'penstock.dev/slice-dry-run': 'true' };
  it('that has been told already is not counted again', () => {
    const pod = slicedPod(dry);
    const after = patched(pod, slicePod(pod, context).patch);
    expect(slicePod(after, context)).toMatchObject({ outcome: 'noop', reason: 'already-sliced', warnings: [] });
  });
  it('of what no node can serve only annotates why', () => {
    const result = slicePod(slicedPod({ ...dry, 'penstock.dev/slice-ratio': '4' }), context);
    expect(result).toMatchObject({ outcome: 'dry-run', gpusSaved: 0, warnings: [] });
    expect(result.wholeBecause).toBeUndefined();
    expect(result.patch).toEqual([
      {
        op: 'add',
        path: '/metadata/annotations/penstock.dev~1slice-status',
        value:
          'dry run, nothing was changed; it would keep its whole GPUs: main: 4 of 4 slots are a whole GPU of node big',
      },
    ]);
  });
});

describe('several containers', () => {
  it('have a region and a quota each, init containers and sidecars too', () => {
    const pod = slicedPod(
      { 'penstock.dev/slice-ratio': '1', 'main.slice.penstock.dev/vram': '30Gi' },
      {
        initContainers: [
          { name: 'plain' },
          gpuContainer('warm'),
          gpuContainer('server', 1, { restartPolicy: 'Always' }),
        ],
        containers: [gpuContainer('main')],
      },
    );
    const after = sliced(pod);
    expect(after.metadata.annotations).toMatchObject({
      'warm.vram.penstock.dev/quota': String(20 * GIB),
      'server.vram.penstock.dev/quota': String(20 * GIB),
      'main.vram.penstock.dev/quota': String(30 * GIB),
    });
    const regions = [...after.spec.initContainers!, ...after.spec.containers].map(
      ({ volumeMounts }) => volumeMounts?.find(({ mountPath }) => mountPath.endsWith('region'))?.name,
    );
    expect(regions).toEqual([undefined, 'penstock-vram-0', 'penstock-vram-1', 'penstock-vram-2']);
    expect(valueOf(main(after), 'LD_PRELOAD')).toBe(PRELOAD);
  });

  it('of which one is several GPUs: units are told to be of fewer cards at worst', () => {
    const pod = slicedPod({}, { containers: [gpuContainer('main', 2)] });
    const { warnings, gpusSaved } = slicePod(pod, contextOf([gpuNode('two', { cards: 2 })]));
    expect(gpusSaved).toBe(1.5);
    expect(warnings[1]).toContain('2 units of nvidia.com/gpu.shared can be of fewer than 2 GPUs');
  });
});
