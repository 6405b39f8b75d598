// SPDX-License-Identifier: Apache-2.0
import jsonPatch from 'fast-json-patch';
import { describe, expect, it } from 'vitest';
import { SLICE_ANNOTATIONS } from '#crds/names.ts';
import type { SliceContext } from '../slice/context.ts';
import { contextOf, gpuContainer, gpuNode, slicedPod } from '../slice/fixtures.ts';
import { slicePod } from '../slice/slice-pod.ts';
import type { Container, PodSpec } from '../slice/pod.ts';
import { missedSlice } from './missed-slice.ts';
import type { LivePod } from './missed-slice.ts';

const node = gpuNode('n1');
const here = contextOf([node]);
const byInit = contextOf([node], { delivery: { kind: 'init', image: 'vram:1' } });
const enrolling = contextOf([node], { policy: { rule: 'all', action: 'slice', ratio: 2 } });

function live(spec: Partial<PodSpec> = {}, annotations: Record<string, string> = {}, phase = 'Running'): LivePod {
  const pod = slicedPod(annotations, { nodeName: 'n1', ...spec });
  return { ...pod, metadata: { ...pod.metadata, name: 'pod', uid: 'u' }, status: { phase } };
}

/** As the webhook leaves it. */
function sliced(context: SliceContext = here, spec: Partial<PodSpec> = {}): LivePod {
  const pod = live({ containers: [gpuContainer('main'), { name: 'log', image: 'log:1' }], ...spec });
  const { nodeName: _node, ...unbound } = pod.spec;
  const made = { ...pod, spec: unbound };
  const { patch = [] } = slicePod(made, context);
  const { newDocument } = jsonPatch.applyPatch(structuredClone(made), structuredClone([...patch]));
  return { ...newDocument, spec: { ...newDocument.spec, nodeName: 'n1' } };
}

/** The pod with its main container changed. */
function withMain(pod: LivePod, change: (container: Container) => Container): LivePod {
  const containers = pod.spec.containers.map((one) => (one.name === 'main' ? change(one) : one));
  return { ...pod, spec: { ...pod.spec, containers } };
}

function unasked(pod: LivePod): LivePod {
  const { [SLICE_ANNOTATIONS.slice]: _asked, ...annotations } = pod.metadata.annotations ?? {};
  return { ...pod, metadata: { ...pod.metadata, annotations } };
}

describe('a pod that exists', () => {
  const nothing: Record<string, () => [LivePod, SliceContext]> = {
    'has its slice': () => [sliced(), here],
    'has its slice by an init container': () => [sliced(byInit), byInit],
    'has its slice, and the delivery has changed since': () => [sliced(byInit), here],
    'has its slice, and its node has gone': () => [sliced(), contextOf([])],
    'asks for no GPU': () => [live({ containers: [{ name: 'main', image: 'app:1' }] }), here],
    'asks for no slice': () => [unasked(live()), here],
    'has opted out, whatever the policy says': () => [live({}, { [SLICE_ANNOTATIONS.slice]: 'false' }), enrolling],
    'is told about only (dry run)': () => [live({}, { [SLICE_ANNOTATIONS.dryRun]: 'true' }), here],
    'would keep its whole GPU today': () => [live(), contextOf([gpuNode('n1', { shared: [] })])],
    'cannot be judged before the nodes are known': () => [live(), { ...here, inventory: { synced: false, nodes: [] } }],
    'has ended': () => [live({}, {}, 'Succeeded'), here],
    'has failed': () => [live({}, {}, 'Failed'), here],
    'is being deleted': () => {
      const pod = live();
      return [{ ...pod, metadata: { ...pod.metadata, deletionTimestamp: '2026-11-21T20:00:00Z' } }, here];
    },
  };
  it.each(Object.entries(nothing))('misses nothing: it %s', (_name, given) => {
    expect(missedSlice(...given())).toBeUndefined();
  });

  const missed: Record<string, [() => [LivePod, SliceContext], kind: string, why: RegExp]> = {
    'asked for a slice and has a whole GPU': [() => [live(), here], 'whole', /asks for a slice itself/],
    'has a whole GPU on a node that shares none, and another node could serve it': [
      () => [live({ nodeName: 'whole' }), contextOf([gpuNode('whole', { shared: [] }), node])],
      'whole',
      /asks for a slice itself/,
    ],
    'is enrolled by the policy and has a whole GPU': [
      () => [unasked(live()), enrolling],
      'whole',
      /rule all of the policy/,
    ],
    'waits for a whole GPU': [() => [live({}, {}, 'Pending'), here], 'whole', /asks for a slice itself/],
    'bears the record of another pod': [
      () => [
        live({}, { [SLICE_ANNOTATIONS.record]: sliced().metadata.annotations?.[SLICE_ANNOTATIONS.record] ?? '' }),
        here,
      ],
      'whole',
      /asks for a slice itself/,
    ],
    'has an annotation that would have been refused': [
      () => [live({}, { [SLICE_ANNOTATIONS.ratio]: 'many' }), here],
      'invalid',
      /slice-ratio/,
    ],
    'has lost LD_PRELOAD': [
      () => [withMain(sliced(), ({ env: _env, ...rest }) => rest), here],
      'unprotected',
      /container main to its share/,
    ],
    'has LD_PRELOAD of somebody else only': [
      () => [withMain(sliced(), (one) => ({ ...one, env: [{ name: 'LD_PRELOAD', value: '/lib/other.so' }] })), here],
      'unprotected',
      /container main/,
    ],
    'has lost its mounts': [
      () => [withMain(sliced(), ({ volumeMounts: _mounts, ...rest }) => rest), here],
      'unprotected',
      /container main/,
    ],
    'has lost its quota only': [
      () => [
        withMain(sliced(), (one) => ({
          ...one,
          volumeMounts: (one.volumeMounts ?? []).filter(({ mountPath }) => !mountPath.endsWith('quota')),
        })),
        here,
      ],
      'unprotected',
      /container main/,
    ],
    'has lost the init container that brings the library': [
      () => {
        const pod = sliced(byInit);
        return [{ ...pod, spec: { ...pod.spec, initContainers: [] } }, byInit];
      },
      'unprotected',
      /init container/,
    ],
    'has an ephemeral container that was added past the webhook': [
      () => {
        const pod = sliced();
        const ephemeralContainers = [{ name: 'debug', image: 'x', targetContainerName: 'main' }];
        return [{ ...pod, spec: { ...pod.spec, ephemeralContainers } }, here];
      },
      'unprotected',
      /ephemeral container/,
    ],
  };
  it.each(Object.entries(missed))('is found: it %s', (_name, [given, kind, why]) => {
    const found = missedSlice(...given());
    expect(found?.kind).toBe(kind);
    expect(found?.why).toMatch(why);
  });

  it('is never changed by the question', () => {
    const pod = live();
    const before = structuredClone(pod);
    missedSlice(pod, here);
    expect(pod).toEqual(before);
  });
});
