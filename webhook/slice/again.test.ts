// SPDX-License-Identifier: Apache-2.0
// Second passes: reinvocationPolicy IfNeeded after other webhooks, and pods made of the manifest of a sliced one.
import { applyPatch } from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';
import { describe, expect, it } from 'vitest';
import type { SliceContext } from './context.ts';
import { contextOf, GIB, gpuContainer, gpuNode, slicedPod } from './fixtures.ts';
import type { Container, EnvVar, Pod } from './pod.ts';
import { slicePod } from './slice-pod.ts';

const context = contextOf([gpuNode('big')]);
const byInit = contextOf([gpuNode('big')], { delivery: { kind: 'init', image: 'vram:1' } });
const OURS = '/penstock/vram/lib/libpenstock_vram.so:/penstock/vram/lib/libpenstock_nvml.so';
const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

function apply(pod: Pod, patch: readonly Operation[] = []): Pod {
  return applyPatch(copy(pod), copy(patch) as Operation[], true).newDocument;
}

function passed(pod: Pod, given: SliceContext = context): Pod {
  const result = slicePod(pod, given);
  expect(result.outcome).toBe('mutated');
  const after = apply(pod, result.patch);
  expect(slicePod(after, given)).toMatchObject({ outcome: 'noop', reason: 'already-sliced' });
  return after;
}

/** The pod after another webhook's change. */
function changed(
  pod: Pod,
  change: (spec: { containers: Container[]; initContainers: Container[] }, pod: Pod) => void,
): Pod {
  const made = copy(pod);
  const spec = made.spec as unknown as { containers: Container[]; initContainers: Container[] };
  change(spec, made);
  return made;
}

const paths = (pod: Pod, given: SliceContext = context): string[] =>
  (slicePod(pod, given).patch ?? []).map(({ op, path }) => `${op} ${path}`);
const setEnv = (container: Container, env: EnvVar[]): void => void Object.assign(container, { env });

describe('after another webhook', () => {
  const first = passed(slicedPod());

  it('has added a container with a GPU: it is sliced, and the rest stays', () => {
    const more = changed(first, ({ containers }) => void containers.push(gpuContainer('added')));
    const after = passed(more);
    expect(after.spec.containers[1]?.resources?.limits).toEqual({ 'nvidia.com/gpu.shared': '1' });
    expect(after.spec.containers[0]).toEqual(first.spec.containers[0]);
    expect(after.spec.volumes?.map(({ name }) => name)).toEqual([
      'penstock-vram-lib',
      'penstock-vram-0',
      'penstock-quota-0',
      'penstock-vram-1',
      'penstock-quota-1',
    ]);
  });

  it('has added one before ours: numbers of volumes stay with their containers', () => {
    const more = changed(first, ({ containers }) => void containers.unshift(gpuContainer('added')));
    const after = passed(more);
    const regions = after.spec.containers.map(({ volumeMounts }) => volumeMounts?.[1]?.name);
    expect(regions).toEqual(['penstock-vram-1', 'penstock-vram-0']);
  });

  it('has put something before us in LD_PRELOAD: it may stay there', () => {
    const more = changed(first, ({ containers }) =>
      setEnv(containers[0]!, [{ name: 'LD_PRELOAD', value: `/their.so:${OURS}` }]),
    );
    expect(slicePod(more, context)).toMatchObject({ outcome: 'noop', reason: 'already-sliced' });
  });

  it('has replaced LD_PRELOAD: ours comes back, theirs stays', () => {
    const more = changed(first, ({ containers }) =>
      setEnv(containers[0]!, [{ name: 'LD_PRELOAD', value: '/their.so' }]),
    );
    expect(paths(more)).toEqual(['replace /spec/containers/0/env/0/value']);
    expect(passed(more).spec.containers[0]?.env?.[0]?.value).toBe(`${OURS}:/their.so`);
  });

  it('has added a second LD_PRELOAD behind ours', () => {
    const more = changed(first, ({ containers }) =>
      setEnv(containers[0]!, [...(containers[0]?.env ?? []), { name: 'LD_PRELOAD', value: '/their.so' }]),
    );
    expect(paths(more)).toEqual(['replace /spec/containers/0/env/1/value']);
  });

  it('has put an init container before ours: ours goes first again', () => {
    const one = passed(slicedPod(), byInit);
    const more = changed(
      one,
      ({ initContainers }) => void initContainers.unshift({ name: 'their-proxy', restartPolicy: 'Always' }),
    );
    expect(slicePod(more, byInit).patch).toEqual([
      { op: 'move', from: '/spec/initContainers/1', path: '/spec/initContainers/0' },
    ]);
    expect(passed(more, byInit).spec.initContainers?.map(({ name }) => name)).toEqual(['penstock-vram', 'their-proxy']);
  });

  it.each<[string, (pod: Pod) => void, string[]]>([
    [
      'the sentence',
      ({ metadata }) => void delete (metadata.annotations as Record<string, string>)['penstock.dev/slice-status'],
      ['add /metadata/annotations/penstock.dev~1slice-status'],
    ],
    [
      'the quota',
      ({ metadata }) => void delete (metadata.annotations as Record<string, string>)['main.vram.penstock.dev/quota'],
      ['add /metadata/annotations/main.vram.penstock.dev~1quota'],
    ],
    [
      'a larger quota',
      ({ metadata }) =>
        void ((metadata.annotations as Record<string, string>)['main.vram.penstock.dev/quota'] = '99999999999999'),
      ['replace /metadata/annotations/main.vram.penstock.dev~1quota'],
    ],
    [
      'a mount',
      ({ spec }) => void (spec.containers[0]!.volumeMounts as unknown[]).splice(2, 1),
      ['add /spec/containers/0/volumeMounts/-'],
    ],
    ['a volume', ({ spec }) => void (spec.volumes as unknown[]).splice(0, 1), ['add /spec/volumes/-']],
  ])('has taken away or changed %s: it is mended', (_, change, operations) => {
    const more = changed(first, (_spec, pod) => change(pod));
    expect(paths(more)).toEqual(operations);
    expect(slicePod(more, context).gpusSaved).toBe(0);
    passed(more);
  });
});

it('the requirements that came with a slice are no reason to give another number of slots', () => {
  const large = gpuNode('large', { offer: { slotsPerGPU: 8 } });
  // Two slots of it would hold what main asks for, but three are all of a card, and side asks for three.
  const small = gpuNode('small', { cards: 2, cardMemory: 24 * GIB, offer: { slotsPerGPU: 3, onOneCard: true } });
  const pod = slicedPod(
    { 'penstock.dev/vram.main': '10Gi', 'penstock.dev/slice-ratio.side': '3' },
    { containers: [gpuContainer('main'), gpuContainer('side')] },
  );
  const units = passed(pod, contextOf([large, small])).spec.containers.map(({ resources }) => resources?.limits);
  expect(units).toEqual([{ 'nvidia.com/gpu.shared': '2' }, { 'nvidia.com/gpu.shared': '3' }]);
});

describe('when the cluster has changed in between', () => {
  const first = passed(slicedPod({ 'penstock.dev/slice-ratio': '2' }));
  it('and the card is smaller, the quota follows', () => {
    const smaller = contextOf([gpuNode('big', { cardMemory: 2 ** 33 })]);
    expect(passed(first, smaller).metadata.annotations?.['main.vram.penstock.dev/quota']).toBe(String(2 ** 32));
  });
  it('and the way of delivery is another, it keeps its own', () => {
    expect(slicePod(first, byInit)).toMatchObject({ reason: 'already-sliced' });
    expect(slicePod(passed(slicedPod(), byInit), context)).toMatchObject({ reason: 'already-sliced' });
  });
});

describe('where slots bear the name of whole GPUs', () => {
  const offer = { ...gpuNode('x').shared[0]!, resource: 'nvidia.com/gpu' };
  const given = contextOf([gpuNode('unrenamed', { shared: [offer] })]);
  const two = { 'penstock.dev/slice-ratio': '2' };
  it('they are not multiplied again', () => {
    const after = passed(slicedPod(two), given);
    expect(after.spec.containers[0]?.resources?.limits).toEqual({ 'nvidia.com/gpu': '2' });
  });
  it('a record on a template that was never sliced counts for nothing', () => {
    const record = JSON.stringify({ v: 1, containers: { main: [1, 'nvidia.com/gpu', 2] } });
    const two_gpus = slicedPod({ 'penstock.dev/sliced': record }, { containers: [gpuContainer('main', 2)] });
    const cards = contextOf([gpuNode('two', { cards: 2, shared: [{ ...offer, onOneCard: false, allocatable: 8 }] })]);
    const { patch } = slicePod(two_gpus, cards);
    expect(JSON.parse(apply(two_gpus, patch).metadata.annotations?.['penstock.dev/sliced'] ?? '')).toMatchObject({
      containers: { main: [2, 'nvidia.com/gpu', 2] },
    });
  });
  it.each([
    '',
    '{',
    '[]',
    'null',
    '{"v":2}',
    '{"v":1,"containers":[[1]]}',
    '{"v":1,"containers":{"main":[1,2,3]}}',
    '{"v":1,"containers":{"main":[0,"nvidia.com/gpu",2]}}',
    'x'.repeat(100_000),
  ])('a record that is none counts for nothing: %.40s', (record) => {
    const first = passed(slicedPod(two), given);
    const more = changed(
      first,
      (_, { metadata }) => void Object.assign(metadata.annotations!, { 'penstock.dev/sliced': record }),
    );
    // What it asks for now are two GPUs, as far as anybody can tell; one card does not have them.
    expect(slicePod(more, given)).toMatchObject({ outcome: 'noop', reason: 'no-node' });
  });
});

describe('an image under our names', () => {
  const strange = (pod: Pod, given: SliceContext): string[] =>
    slicePod(pod, given).warnings.filter((text) => text.includes("not Penstock's"));
  const withLibrary = (reference: string): Pod =>
    slicedPod({}, { volumes: [{ name: 'penstock-vram-lib', image: { reference } }] });
  it.each<[string, string, number]>([
    ['that is ours', 'registry.example/penstock-vram:1', 0],
    ['that is ours from a mirror', 'mirror.example:5000/cache/penstock-vram@sha256:0', 0],
    ['that is another', 'registry.example/mallory/vram', 1],
  ])('%s', (_, reference, warnings) => expect(strange(withLibrary(reference), context)).toHaveLength(warnings));

  it('of an init container is looked at, too', () => {
    const volumeMounts = [{ name: 'penstock-vram-lib', mountPath: '/penstock/vram/lib' }];
    const initContainers = [{ name: 'penstock-vram', image: 'mallory/empty:1', volumeMounts }];
    expect(strange(slicedPod({}, { initContainers }), byInit)).toEqual([
      "penstock: init container penstock-vram was there before, with an image that is not Penstock's: nothing says that it holds the limit",
    ]);
  });
});
