// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { SliceContext } from './context.ts';
import { contextOf, GIB, gpuContainer, gpuNode, patched, settings, slicedPod } from './fixtures.ts';
import type { Container, Pod, PodSpec } from './pod.ts';
import { slicePod } from './slice-pod.ts';

const nodes = [gpuNode('big')];
const context = contextOf(nodes);
const PRELOAD = '/penstock/vram/lib/libpenstock_vram.so:/penstock/vram/lib/libpenstock_nvml.so';

function sliced(pod: Pod, given: SliceContext = context): Pod {
  const result = slicePod(pod, given);
  expect(result.outcome).toBe('mutated');
  return patched(pod, result.patch);
}

const main = (pod: Pod): Container => pod.spec.containers[0]!;

describe('the patch of an ordinary pod', () => {
  it('is these bytes', () => {
    const pod = slicedPod({ 'penstock.dev/slice-ratio': '2' });
    const { patch, outcome, gpusSaved, workloadType } = slicePod(pod, context);
    expect({ outcome, gpusSaved, workloadType }).toEqual({ outcome: 'mutated', gpusSaved: 0.5, workloadType: 'none' });
    const status =
      'main: 2 × nvidia.com/gpu.shared for 1 × nvidia.com/gpu; 40 GiB (42949672960 bytes) on the GPU: ' +
      '2 of 4 slots of 80 GiB (node big, the smallest of 1); by penstock.dev/slice-ratio';
    expect(patch?.map((operation) => JSON.stringify(operation))).toEqual([
      '{"op":"remove","path":"/spec/containers/0/resources/limits/nvidia.com~1gpu"}',
      '{"op":"add","path":"/spec/containers/0/resources/limits/nvidia.com~1gpu.shared","value":"2"}',
      '{"op":"remove","path":"/spec/containers/0/resources/requests/nvidia.com~1gpu"}',
      '{"op":"add","path":"/spec/containers/0/resources/requests/nvidia.com~1gpu.shared","value":"2"}',
      `{"op":"add","path":"/spec/containers/0/env","value":[{"name":"LD_PRELOAD","value":"${PRELOAD}"}]}`,
      '{"op":"add","path":"/spec/containers/0/volumeMounts","value":[' +
        '{"name":"penstock-vram-lib","mountPath":"/penstock/vram/lib","readOnly":true},' +
        '{"name":"penstock-vram-0","mountPath":"/penstock/vram/region"},' +
        '{"name":"penstock-quota-0","mountPath":"/penstock/vram/quota","readOnly":true}]}',
      '{"op":"add","path":"/spec/volumes/-","value":{"name":"penstock-vram-lib","image":{"reference":"registry.example/penstock-vram:1"}}}',
      '{"op":"add","path":"/spec/volumes/-","value":{"name":"penstock-vram-0","emptyDir":{"medium":"Memory","sizeLimit":"4Mi"}}}',
      '{"op":"add","path":"/spec/volumes/-","value":{"name":"penstock-quota-0","downwardAPI":{"items":[{"path":"limit",' +
        '"fieldRef":{"fieldPath":"metadata.annotations[\'main.vram.penstock.dev/quota\']"}}]}}}',
      '{"op":"add","path":"/spec/affinity","value":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":' +
        '{"nodeSelectorTerms":[{"matchExpressions":[{"key":"nvidia.com/gpu.count","operator":"In","values":["1"]}]}]}}}}',
      '{"op":"add","path":"/metadata/annotations/main.vram.penstock.dev~1quota","value":"42949672960"}',
      `{"op":"add","path":"/metadata/annotations/penstock.dev~1slice-status","value":${JSON.stringify(status)}}`,
      '{"op":"add","path":"/metadata/annotations/penstock.dev~1sliced","value":"{\\"v\\":1,\\"containers\\":{\\"main\\":[1,\\"nvidia.com/gpu.shared\\",2]},' +
        '\\"requirements\\":[{\\"key\\":\\"nvidia.com/gpu.count\\",\\"operator\\":\\"In\\",\\"values\\":[\\"1\\"]}]}"}',
    ]);
  });

  it('names the profile of an instance of MIG', () => {
    const offer = { resource: 'nvidia.com/mig-1g.10gb', mode: 'MIG', slotsPerGPU: 7, memoryPerSlot: 10 * GIB } as const;
    const { metadata } = sliced(
      slicedPod(),
      contextOf([gpuNode('cut', { offer: { ...offer, refusesMultiple: true } })]),
    );
    expect(metadata.annotations?.['penstock.dev/slice-status']).toBe(
      'main: 1 × nvidia.com/mig-1g.10gb for 1 × nvidia.com/gpu; 10 GiB (10737418240 bytes) on the GPU: ' +
        'MIG profile 1g.10gb (node cut, the smallest of 1); by the default',
    );
  });

  it('brings the library by an init container where there are no image volumes', () => {
    const delivery = { kind: 'init', image: 'vram:1', pullPolicy: 'IfNotPresent' } as const;
    const pod = sliced(slicedPod({}, { initContainers: [{ name: 'setup' }] }), contextOf(nodes, { delivery }));
    expect(pod.spec.initContainers).toEqual([
      {
        name: 'penstock-vram',
        image: 'vram:1',
        imagePullPolicy: 'IfNotPresent',
        args: ['/penstock/vram/lib'],
        resources: {},
        securityContext: {
          allowPrivilegeEscalation: false,
          capabilities: { drop: ['ALL'] },
          readOnlyRootFilesystem: true,
          runAsNonRoot: true,
          seccompProfile: { type: 'RuntimeDefault' },
        },
        volumeMounts: [{ name: 'penstock-vram-lib', mountPath: '/penstock/vram/lib' }],
      },
      { name: 'setup' },
    ]);
    expect(pod.spec.volumes?.[0]).toEqual({
      name: 'penstock-vram-lib',
      emptyDir: { medium: 'Memory', sizeLimit: '8Mi' },
    });
  });

  it.each([
    ['the user of the pod', 1000, undefined],
    ["the image's user where the pod names none", undefined, undefined],
    ['never root', 0, 65_532],
  ])('that init container runs as %s', (_, runAsUser, expected) => {
    const delivery = { kind: 'init', image: 'vram:1' } as const;
    const pod = sliced(
      slicedPod({}, { securityContext: runAsUser === undefined ? {} : { runAsUser } }),
      contextOf(nodes, { delivery }),
    );
    expect(pod.spec.initContainers?.[0]).toMatchObject({ securityContext: { runAsNonRoot: true } });
    const [init] = pod.spec.initContainers as unknown as { securityContext: { runAsUser?: number } }[];
    expect(init?.securityContext.runAsUser).toBe(expected);
  });
});

describe('resources', () => {
  const shared = { 'nvidia.com/gpu.shared': '2' };
  it.each<[string, Container['resources'], Container['resources']]>([
    ['limits alone', { limits: { 'nvidia.com/gpu': '1' } }, { limits: shared }],
    ['limits as a number', { limits: { 'nvidia.com/gpu': 1 } }, { limits: shared }],
    [
      'requests alone get the limits they must have',
      { requests: { 'nvidia.com/gpu': '1' } },
      { limits: shared, requests: shared },
    ],
    [
      'requests alone beside other limits',
      { limits: { cpu: '1' }, requests: { 'nvidia.com/gpu': '1', cpu: '1' } },
      { limits: { cpu: '1', ...shared }, requests: { cpu: '1', ...shared } },
    ],
    [
      'other resources stay',
      { limits: { 'nvidia.com/gpu': '1', memory: '1Gi' }, requests: { 'nvidia.com/gpu': '1', memory: '512Mi' } },
      { limits: { memory: '1Gi', ...shared }, requests: { memory: '512Mi', ...shared } },
    ],
    [
      'claims stay',
      { limits: { 'nvidia.com/gpu': '1' }, claims: [{ name: 'x' }] },
      { limits: shared, claims: [{ name: 'x' }] },
    ],
  ])('%s', (_, resources, expected) => {
    const pod = slicedPod(
      { 'penstock.dev/slice-ratio': '2' },
      { containers: [{ name: 'main', resources: resources! }] },
    );
    expect(main(sliced(pod)).resources).toEqual(expected);
  });

  it.each<[string, Container['resources']]>([
    ['half a GPU', { limits: { 'nvidia.com/gpu': '500m' } }],
    ['limits that are not the requests', { limits: { 'nvidia.com/gpu': '2' }, requests: { 'nvidia.com/gpu': '1' } }],
    ['no number', { limits: { 'nvidia.com/gpu': 'one' } }],
    ['less than none', { limits: { 'nvidia.com/gpu': '-1' } }],
  ])('%s is left to the API server to refuse', (_, resources) => {
    expect(slicePod(slicedPod({}, { containers: [{ name: 'main', resources: resources! }] }), context)).toMatchObject({
      outcome: 'noop',
      reason: 'malformed',
    });
  });

  it('a container that asks for whole GPUs and slots keeps both', () => {
    const resources = { limits: { 'nvidia.com/gpu': '1', 'nvidia.com/gpu.shared': '1' } };
    const result = slicePod(slicedPod({}, { containers: [{ name: 'main', resources }] }), context);
    expect(result).toMatchObject({
      reason: 'malformed',
      wholeBecause: 'container main asks for nvidia.com/gpu.shared itself',
    });
  });

  it('nor is one sliced beside a container that asks for slots by their name: they would have to fit onto one node', () => {
    const other = { name: 'other', resources: { limits: { 'nvidia.com/gpu.shared': '4' } } };
    const result = slicePod(slicedPod({}, { containers: [gpuContainer('main'), other] }), context);
    expect(result).toMatchObject({
      reason: 'malformed',
      wholeBecause: expect.stringContaining('other asks') as string,
    });
  });

  it('devices by resource claims are told not to be limited', () => {
    const resources = { limits: { 'nvidia.com/gpu': '1' }, claims: [{ name: 'gpu' }] };
    const { warnings } = slicePod(slicedPod({}, { containers: [{ name: 'main', resources }] }), context);
    expect(warnings).toContain('penstock: main: resource claims are not looked at; what they allocate is not limited');
  });
});

describe('what is left as it is', () => {
  const policy = { rule: 'all', action: 'slice' } as const;
  const plain = (annotations?: Record<string, string>): Pod => {
    const { metadata, spec } = slicedPod();
    return { metadata: { name: metadata.name!, ...(annotations ? { annotations } : {}) }, spec };
  };
  it.each<[string, Pod, Partial<SliceContext>, string]>([
    ['a pod without GPUs', slicedPod({}, { containers: [{ name: 'main' }] }), {}, 'no-gpu'],
    ['a pod that asks for none', slicedPod({}, { containers: [gpuContainer('main', 0)] }), {}, 'no-gpu'],
    ['a pod that does not ask', plain(), {}, 'not-asked'],
    ['a pod that opts out, whatever the policy', plain({ 'penstock.dev/slice': 'false' }), { policy }, 'opted-out'],
    ['a pod that the policy ignores', plain(), { policy: { ...policy, action: 'ignore' } }, 'policy-ignored'],
    ['a pod of Windows', slicedPod({}, { os: { name: 'windows' } }), {}, 'windows'],
    ['the mirror of a static pod', slicedPod({ 'kubernetes.io/config.mirror': 'x' }), {}, 'mirror'],
    ['any pod before the nodes are known', slicedPod(), { inventory: { synced: false, nodes: [] } }, 'not-synced'],
    ['any pod before the way of delivery is known', slicedPod(), { delivery: undefined }, 'no-delivery'],
    ['what no node can serve', slicedPod({ 'penstock.dev/slice-ratio': '4' }), {}, 'no-node'],
    ['what no node offers', slicedPod({}, { nodeSelector: { zone: 'eu' } }), {}, 'no-target'],
    ['a pod that is none', { metadata: {}, spec: {} } as Pod, {}, 'malformed'],
    [
      'a pod whose containers are no list',
      { metadata: {}, spec: { containers: 5 } } as unknown as Pod,
      {},
      'malformed',
    ],
  ])('%s', (_, pod, changes, reason) => {
    const result = slicePod(pod, { ...context, ...changes });
    expect(result).toMatchObject({ outcome: 'noop', reason, gpusSaved: 0 });
    // Who asked and gets none reads why, in the pod.
    const status =
      result.wholeBecause === undefined ? undefined : `not sliced, keeps its whole GPUs: ${result.wholeBecause}`;
    expect(result.patch).toEqual(
      status === undefined
        ? undefined
        : [{ op: 'add', path: '/metadata/annotations/penstock.dev~1slice-status', value: status }],
    );
  });

  it.each(['', 'penstock.dev/slice-dry-run'])('is rid of what says that it has slices (%s)', (dryRun) => {
    const forged = {
      'penstock.dev/slice-status': 'main: 4 × nvidia.com/gpu.shared',
      'penstock.dev/sliced': '{"v":1,"containers":{"main":[1,"nvidia.com/gpu.shared",2]}}',
      'main.vram.penstock.dev/quota': '1',
      'gone.vram.penstock.dev/quota': '1',
    };
    const asked = { 'penstock.dev/slice-ratio': '4', ...(dryRun === '' ? {} : { [dryRun]: 'true' }) };
    const { metadata } = patched(
      slicedPod({ ...asked, ...forged }),
      slicePod(slicedPod({ ...asked, ...forged }), context).patch,
    );
    expect(metadata.annotations).toEqual({
      'penstock.dev/slice': 'true',
      ...asked,
      'penstock.dev/slice-status': expect.stringContaining('keep'),
    });
  });

  it.each<[string, Partial<PodSpec>, string]>([
    ['a volume of our name', { volumes: [{ name: 'penstock-vram-lib' }] }, 'volume penstock-vram-lib is not Penstock'],
    [
      'an init container of our name',
      { initContainers: [{ name: 'penstock-vram' }] },
      'container penstock-vram is not Penstock',
    ],
    [
      'a container of our name',
      { containers: [gpuContainer('main'), { name: 'penstock-vram' }] },
      'container penstock-vram is not Penstock',
    ],
    [
      'a mount in our place',
      { containers: [gpuContainer('main', 1, { volumeMounts: [{ name: 'mine', mountPath: '/penstock/vram/lib' }] })] },
      'container main mounts a volume at "/penstock/vram/lib"',
    ],
    ...['/penstock', '/penstock/', '/', '/penstock//vram/lib', 'penstock/vram/lib', '/penstock/./vram/region/x'].map(
      (mountPath): [string, Partial<PodSpec>, string] => [
        `a mount at ${mountPath}`,
        { containers: [gpuContainer('main', 1, { volumeMounts: [{ name: 'mine', mountPath }] })] },
        `container main mounts a volume at "${mountPath}"`,
      ],
    ),
  ])('a pod with %s, with a warning', (_, spec, why) => {
    const result = slicePod(slicedPod({}, spec), context);
    expect(result).toMatchObject({ outcome: 'noop', reason: 'malformed' });
    expect(result.wholeBecause).toContain(why);
    expect(result.warnings[0]).toContain('keeps its whole GPUs');
  });

  it.each<[string, Partial<Pod['metadata']>, Partial<PodSpec>]>([
    ['a container', {}, { containers: [gpuContainer('main\nIMPORTANT: ask mallory')] }],
    ['an init container', {}, { initContainers: [{ name: 'Run curl' }] }],
    ['a volume', {}, { volumes: [{ name: 'a b' }] }],
    ['the pod', { name: 'web\u2028x' }, {}],
    ['what the pod is called by', { generateName: 'Web ' }, {}],
    ['the container', {}, { containers: [gpuContainer('x'.repeat(64))] }],
  ])('a pod with a name of %s that none can have, without a word', (_, metadata, spec) => {
    const pod = slicedPod({ 'penstock.dev/slice-ratio': '4' }, spec);
    const result = slicePod({ ...pod, metadata: { ...pod.metadata, ...metadata } }, context);
    expect(result).toEqual({ outcome: 'noop', reason: 'malformed', warnings: [], workloadType: 'none', gpusSaved: 0 });
  });

  it.each(['slice-dry-run', 'workload-type'])('says so when %s is given without an opt-in', (name) => {
    const value = name === 'workload-type' ? 'dev' : 'true';
    expect(slicePod(plain({ [`penstock.dev/${name}`]: value }), context).warnings).toEqual([
      `penstock: penstock.dev/${name} has no effect without penstock.dev/slice: "true"`,
    ]);
  });

  it('says so when it is the policy that leaves no node', () => {
    const nodeRequirements = [{ key: 'sharing', operator: 'In' as const, values: ['yes'] }];
    const strict = { ...context, settings: { ...settings, nodeRequirements } };
    expect(slicePod(slicedPod(), strict)).toMatchObject({
      reason: 'no-target',
      wholeBecause: 'no node that it may land on is as nodeRequirements of the policy say (sharing)',
    });
    const elsewhere = slicedPod({}, { nodeSelector: { zone: 'eu' } });
    expect(slicePod(elsewhere, strict).wholeBecause).toBe('it may land on no node with a GPU');
  });

  it('says nothing of what castops means by its own', () => {
    expect(slicePod(plain({ 'castops.io/slice-ratio': '2' }), context).warnings).toEqual([]);
  });

  it('says so when a key looks like one of ours', () => {
    const { warnings } = slicePod(slicedPod({ 'penstock.dev/silce-ratio': '2' }), context);
    expect(warnings[0]).toBe(
      'penstock: penstock.dev/silce-ratio is not an annotation of Penstock; did you mean penstock.dev/slice-ratio?',
    );
  });

  it('says so when sizes are given without an opt-in', () => {
    expect(slicePod(plain({ 'penstock.dev/slice-ratio': '2' }), context).warnings).toEqual([
      'penstock: penstock.dev/slice-ratio has no effect without penstock.dev/slice: "true"',
    ]);
  });

  it('containers that do not ask for a GPU, to the byte', () => {
    const web: Container = {
      name: 'web',
      env: [{ name: 'LD_PRELOAD', value: '/a.so' }],
      resources: { limits: { cpu: '1' } },
    };
    const pod = slicedPod({}, { containers: [web, gpuContainer('main')], initContainers: [{ name: 'first' }] });
    const after = sliced(pod);
    expect(JSON.stringify(after.spec.containers[0])).toBe(JSON.stringify(web));
    expect(JSON.stringify(after.spec.initContainers)).toBe('[{"name":"first"}]');
  });
});

describe('the policy', () => {
  const plain: Pod = { metadata: { name: 'pod' }, spec: slicedPod().spec };
  it('enrols pods without annotations, and is named', () => {
    const result = slicePod(plain, { ...context, policy: { rule: 'dev', action: 'slice', workloadType: 'inference' } });
    expect(result).toMatchObject({ outcome: 'mutated', rule: 'dev', workloadType: 'inference', gpusSaved: 0.5 });
    expect(patched(plain, result.patch).metadata.annotations?.['penstock.dev/slice-status']).toContain(
      'by policy rule dev (inference)',
    );
  });
  it('gives a size to pods that ask without one, and is not what enrolled them', () => {
    const result = slicePod(slicedPod(), {
      ...context,
      policy: { rule: 'dev', action: 'slice', ratio: 3, dryRun: true },
    });
    expect(result).toMatchObject({ outcome: 'mutated', gpusSaved: 0.25 });
    expect(result.rule).toBeUndefined();
  });
  it('cannot ignore what a pod asks for', () => {
    expect(slicePod(slicedPod(), { ...context, policy: { rule: 'no', action: 'ignore' } }).outcome).toBe('mutated');
  });
  it('does not keep a pod at a dry run that says it wants none', () => {
    const annotations = { 'penstock.dev/slice-dry-run': 'false' };
    const policy = { rule: 'try', action: 'slice', ratio: 2, dryRun: true } as const;
    const asked: Pod = { ...plain, metadata: { ...plain.metadata, annotations } };
    expect(slicePod(asked, { ...context, policy })).toMatchObject({ outcome: 'mutated', rule: 'try', gpusSaved: 0.5 });
  });
  it.each<[string, Pod, SliceContext]>([
    ['of the policy', plain, { ...context, policy: { rule: 'try', action: 'slice', ratio: 2, dryRun: true } }],
    ['of the pod', slicedPod({ 'penstock.dev/slice-dry-run': 'true', 'penstock.dev/slice-ratio': '2' }), context],
    [
      'of the pod, whatever the policy says,',
      { ...plain, metadata: { ...plain.metadata, annotations: { 'penstock.dev/slice-dry-run': 'true' } } },
      { ...context, policy: { rule: 'try', action: 'slice', ratio: 2, dryRun: false } },
    ],
  ])('a dry run %s only annotates', (_, pod, given) => {
    const result = slicePod(pod, given);
    expect(result).toMatchObject({ outcome: 'dry-run', gpusSaved: 0.5 });
    const after = patched(pod, result.patch);
    expect(after.spec).toEqual(pod.spec);
    expect(after.metadata.annotations?.['penstock.dev/slice-status']).toMatch(
      /^dry run, nothing was changed; it would be: main: 2 ×/,
    );
  });
});

describe('refusal', () => {
  it('names the field, the value and what is allowed', () => {
    const { outcome, causes, patch } = slicePod(slicedPod({ 'penstock.dev/slice-ratio': 'two' }), context);
    expect({ outcome, patch }).toEqual({ outcome: 'refused', patch: undefined });
    expect(causes).toEqual([
      {
        field: 'metadata.annotations[penstock.dev/slice-ratio]',
        reason: 'FieldValueInvalid',
        message: 'is "two", must be a whole number from 1 to 64: the slots to be had',
      },
    ]);
  });
});
