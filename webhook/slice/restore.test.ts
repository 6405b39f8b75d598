// SPDX-License-Identifier: Apache-2.0
// Pods made of the manifest of a sliced one that cannot, or shall not, be sliced as that was.
import { applyPatch } from 'fast-json-patch';
import type { Operation } from 'fast-json-patch';
import { describe, expect, it } from 'vitest';
import type { SliceContext } from './context.ts';
import { contextOf, GIB, gpuContainer, gpuNode, settings, SHARED, slicedPod } from './fixtures.ts';
import type { Container, Pod, PodSpec, Volume } from './pod.ts';
import { slicePod } from './slice-pod.ts';

const context = contextOf([gpuNode('big')]);
const byInit = contextOf([gpuNode('big')], { delivery: { kind: 'init', image: 'vram:1' } });
const GPU = 'nvidia.com/gpu';
const copy = <T>(value: T): T => JSON.parse(JSON.stringify(value)) as T;

function apply(pod: Pod, patch: readonly Operation[] = []): Pod {
  return applyPatch(copy(pod), copy(patch) as Operation[], true).newDocument;
}

/** The pod after its review; a second one has nothing to add. */
function reviewed(pod: Pod, given: SliceContext): Pod {
  const after = apply(pod, slicePod(pod, given).patch);
  expect(slicePod(after, given).patch).toBeUndefined();
  return after;
}

type Mutable = { -readonly [Key in keyof PodSpec]: PodSpec[Key] } & { containers: Container[]; volumes: Volume[] };

function edited(pod: Pod, edit: (spec: Mutable, annotations: Record<string, string>) => void): Pod {
  const made = copy(pod);
  edit(made.spec as Mutable, made.metadata.annotations as Record<string, string>);
  return made;
}

const quotaOf = ({ metadata }: Pod, name = 'main'): string | undefined =>
  metadata.annotations?.[`${name}.vram.penstock.dev/quota`];

const plain = slicedPod({ 'penstock.dev/slice-ratio': '2' });
const first = reviewed(plain, context);
const twoCards = contextOf([gpuNode('two', { cards: 2 })]);

describe('a copy of a sliced pod is what it was before', () => {
  const kept: PodSpec['containers'] = [
    gpuContainer('main', 1, {
      env: [
        { name: 'A', value: '1' },
        { name: 'LD_PRELOAD', valueFrom: { configMapKeyRef: { name: 'c', key: 'k', optional: true } } },
        { name: 'B', value: '$(LD_PRELOAD)' },
      ],
      volumeMounts: [{ name: 'data', mountPath: '/data' }],
    }),
    { name: 'web', env: [{ name: 'LD_PRELOAD', value: '/a.so' }], resources: { limits: { cpu: '1' } } },
    gpuContainer('side', 1, { env: [{ name: 'LD_PRELOAD', value: '/b.so /c.so' }] }),
  ];
  const affinity: PodSpec['affinity'] = {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'Exists' }] }],
      },
    },
  };
  const zoned = contextOf([gpuNode('big', { labels: { zone: 'a' } })]);
  const rich = slicedPod({}, { containers: kept, volumes: [{ name: 'data', emptyDir: {} }], affinity });
  it.each<[string, Pod, SliceContext]>([
    ['an ordinary pod', plain, context],
    ['by an init container', plain, byInit],
    ['beside init containers of its own', slicedPod({}, { initContainers: [{ name: 'first' }] }), byInit],
    ['with much of its own', rich, zoned],
    [
      'with what the administrator states',
      plain,
      { ...context, settings: { ...settings, nodeRequirements: [{ key: 'bad', operator: 'DoesNotExist' }] } },
    ],
  ])('%s', (_, pod, given) => {
    const sliced = reviewed(pod, given);
    const away: SliceContext = { ...given, inventory: { synced: true, nodes: [] } };
    const result = slicePod(sliced, away);
    expect(result).toMatchObject({ outcome: 'noop', reason: 'no-target', restored: true, gpusSaved: 0 });
    expect(result.wholeBecause).toBe('it may land on no node with a GPU');
    expect(result.warnings).toEqual([
      'penstock: what was left of an earlier slice was removed, and the pod has its whole GPUs again: it may land on no node with a GPU',
    ]);
    const status = 'not sliced, keeps its whole GPUs: it may land on no node with a GPU';
    const annotations = { ...pod.metadata.annotations, 'penstock.dev/slice-status': status };
    const told = { ...pod, metadata: { ...pod.metadata, annotations } };
    expect(withoutEmpty(reviewed(sliced, away))).toEqual(withoutEmpty(told));
  });
});

/** Empty lists that were not there before are nothing to anybody. */
function withoutEmpty(pod: Pod): unknown {
  const text = JSON.stringify(pod, (_key, value: unknown) =>
    Array.isArray(value) && value.length === 0 ? undefined : value,
  );
  return JSON.parse(text);
}

describe('a sliced pod that was copied', () => {
  it('to where it cannot be served has whole GPUs', () => {
    const after = reviewed(first, twoCards);
    expect(after.spec.containers[0]).toEqual({ ...plain.spec.containers[0], env: [], volumeMounts: [] });
    expect(after.spec.volumes).toEqual([]);
    expect(after.metadata.annotations).toEqual({
      ...plain.metadata.annotations,
      'penstock.dev/slice-status': expect.stringMatching(/^not sliced, keeps its whole GPUs: main: /),
    });
  });

  it('to other nodes that can serve it is sliced anew, free of the requirements of before', () => {
    const replicas = { 'nvidia.com/gpu.replicas': '4' };
    const pinned = reviewed(slicedPod(), contextOf([gpuNode('one', { labels: replicas })]));
    const single = reviewed(slicedPod(), twoCards);
    const result = slicePod(pinned, twoCards);
    expect(result).toMatchObject({ outcome: 'mutated', restored: true, gpusSaved: 0.75 });
    const after = reviewed(pinned, twoCards);
    expect(after.spec.containers).toEqual(single.spec.containers);
    expect(after.spec.affinity).toEqual(single.spec.affinity);
  });

  it('with a larger quota has the one that is decided', () => {
    const larger = edited(first, (_, annotations) => (annotations['main.vram.penstock.dev/quota'] = String(80 * GIB)));
    expect(quotaOf(reviewed(larger, context))).toBe(String(40 * GIB));
    const both = edited(larger, (_, annotations) => (annotations['penstock.dev/slice-ratio'] = '64'));
    const after = reviewed(both, context);
    expect(quotaOf(after)).toBeUndefined();
    expect(after.spec.containers[0]?.resources?.limits).toEqual({ [GPU]: '1' });
  });

  it('without its annotations (kubectl debug --copy-to) has whole GPUs, and no slots that nothing limits', () => {
    const bare: Pod = { ...first, metadata: { name: 'copy' } };
    expect(slicePod(bare, context)).toMatchObject({ wholeBecause: 'it does not ask for a slice', restored: true });
    const after = reviewed(bare, context);
    expect(after.spec.containers).toEqual([{ ...plain.spec.containers[0], env: [], volumeMounts: [] }]);
    expect(after.spec.volumes).toEqual([]);
  });

  it('without its annotations where a rule enrols it has the slice of the rule', () => {
    const bare: Pod = { ...first, metadata: { name: 'copy' } };
    const enrolling: SliceContext = { ...context, policy: { rule: 'all', action: 'slice', ratio: 3 } };
    const after = reviewed(bare, enrolling);
    expect(after.spec.containers[0]?.resources?.limits).toEqual({ [SHARED]: '3' });
    expect(quotaOf(after)).toBe(String(60 * GIB));
  });

  it.each<[string, (annotations: Record<string, string>) => void, string]>([
    ['taken back', (annotations) => delete annotations['penstock.dev/slice'], 'it does not ask for a slice'],
    ['turned round', (annotations) => (annotations['penstock.dev/slice'] = 'false'), 'it opts out'],
  ])('and whose opt-in was %s has whole GPUs', (_, edit, why) => {
    const asked = edited(first, (_spec, annotations) => edit(annotations));
    expect(slicePod(asked, context)).toMatchObject({ outcome: 'noop', wholeBecause: why, restored: true });
    const after = reviewed(asked, context);
    expect(after.spec.containers[0]?.resources).toEqual({ limits: { [GPU]: '1' }, requests: { [GPU]: '1' } });
    expect(after.spec.affinity).toBeUndefined();
  });

  it('and has other numbers of slots gets the ones that are decided, and their quota', () => {
    const fewer = edited(first, ({ containers }) => {
      containers[0] = { ...containers[0]!, resources: { limits: { [SHARED]: '1' }, requests: { [SHARED]: '1' } } };
    });
    const after = reviewed(fewer, context);
    expect(after.spec.containers[0]?.resources?.limits).toEqual({ [SHARED]: '2' });
    expect(quotaOf(after)).toBe(String(40 * GIB));
  });

  it('and asks for whole GPUs beside what it had is sliced anew', () => {
    const both = edited(first, ({ containers }) => {
      containers[0] = { ...containers[0]!, resources: { limits: { [SHARED]: '2', [GPU]: '1' } } };
    });
    expect(reviewed(both, context).spec.containers[0]?.resources?.limits).toEqual({ [SHARED]: '2' });
  });

  it('and asks for nothing any more is rid of what is ours', () => {
    const none = edited(first, ({ containers }) => {
      containers[0] = { ...containers[0]!, resources: {} };
    });
    expect(reviewed(none, context).spec.containers[0]).toMatchObject({ env: [], volumeMounts: [], resources: {} });
  });

  it.each<[string, (volumes: Volume[]) => void]>([
    ['the quota', (volumes) => (volumes[2] = { name: 'penstock-quota-0', emptyDir: {} })],
    ['the region', (volumes) => (volumes[1] = { name: 'penstock-vram-0', emptyDir: { sizeLimit: '4Mi' } })],
    ['the library', (volumes) => (volumes[0] = { name: 'penstock-vram-lib', downwardAPI: { items: [] } })],
  ])('and has another volume in the place of %s gets ours back', (_, edit) => {
    const other = edited(first, ({ volumes }) => edit(volumes));
    expect(reviewed(other, context).spec.volumes).toEqual(first.spec.volumes);
  });

  it('and mounts a part of ours gets the whole', () => {
    const other = edited(first, ({ containers }) => {
      Object.assign(containers[0]!.volumeMounts![2]!, { subPath: 'x', readOnly: false });
    });
    expect(reviewed(other, context).spec.containers).toEqual(first.spec.containers);
  });

  it('has one container more that does not fit: all are whole', () => {
    const more = edited(first, ({ containers }) => void containers.push(gpuContainer('late')));
    const after = reviewed(more, contextOf([gpuNode('big', { offer: { allocatable: 2 } })]));
    expect(after.spec.containers.map(({ resources }) => resources?.limits)).toEqual([{ [GPU]: '1' }, { [GPU]: '1' }]);
  });

  it('has a copy of a container, with its mounts: each has a quota and a region of its own', () => {
    const large = contextOf([gpuNode('big', { offer: { slotsPerGPU: 8 } })]);
    const one = reviewed(plain, large);
    for (const resources of [gpuContainer('b').resources!, one.spec.containers[0]!.resources!]) {
      const more = edited(one, ({ containers }, annotations) => {
        containers.unshift({ ...copy(containers[0]!), name: 'b', resources });
        annotations['penstock.dev/slice-ratio.b'] = '1';
      });
      const after = reviewed(more, large);
      expect(after.spec.containers.map(({ volumeMounts }) => volumeMounts?.map(({ name }) => name))).toEqual([
        ['penstock-vram-lib', 'penstock-vram-1', 'penstock-quota-1'],
        ['penstock-vram-lib', 'penstock-vram-0', 'penstock-quota-0'],
      ]);
      expect([quotaOf(after), quotaOf(after, 'b')]).toEqual([String(20 * GIB), String(10 * GIB)]);
      expect(after.spec.containers[0]?.resources?.limits).toEqual({ [SHARED]: '1' });
    }
  });

  it('keeps a volume of ours that somebody else mounts', () => {
    const spy = edited(first, ({ containers }) => {
      containers.push({ name: 'spy', volumeMounts: [{ name: 'penstock-vram-0', mountPath: '/look' }] });
    });
    expect(reviewed(spy, contextOf([])).spec.volumes?.map(({ name }) => name)).toEqual(['penstock-vram-0']);
  });

  it('stays as it is while the nodes are not known', () => {
    const unknown = { ...context, inventory: { synced: false, nodes: [] } };
    expect(slicePod(first, unknown)).toMatchObject({ reason: 'not-synced' });
  });
});

describe('what a record says', () => {
  const forge = (requirements: unknown): Pod =>
    edited(first, (spec, annotations) => {
      const record = JSON.parse(annotations['penstock.dev/sliced'] ?? '') as Record<string, unknown>;
      annotations['penstock.dev/sliced'] = JSON.stringify({ ...record, requirements });
      const nodeSelectorTerms = [{ matchExpressions: [{ key: 'tenant', operator: 'In', values: ['a'] }] }];
      spec.affinity = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } };
    });
  it('takes away nothing that no slice brings', () => {
    const forged = forge([{ key: 'tenant', operator: 'In', values: ['a'] }]);
    expect(reviewed(forged, contextOf([])).spec.affinity).toEqual(forged.spec.affinity);
  });
  it('takes away nothing that other admission may have put there, and says so', () => {
    const others = [
      { key: 'nvidia.com/gpu.product', operator: 'In', values: ['A100'] },
      { key: 'kubernetes.io/hostname', operator: 'NotIn', values: ['theirs'] },
      { key: 'nvidia.com/gpu.replicas', operator: 'NotIn', values: ['4'] },
    ];
    const ours = [
      { key: 'nvidia.com/gpu.replicas', operator: 'In', values: ['4'] },
      { key: 'nvidia.com/gpu.memory', operator: 'Gt', values: ['81919'] },
    ];
    const forged = edited(forge([...others, ...ours]), (spec) => {
      const nodeSelectorTerms = [{ matchExpressions: [...others, ...ours] }];
      spec.affinity = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms } } };
    });
    const after = reviewed(forged, contextOf([]));
    expect(after.spec.affinity?.nodeAffinity).toEqual({
      requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: others }] },
    });
    expect(slicePod(forged, contextOf([])).warnings).toContainEqual(
      'penstock: what its node affinity says of nvidia.com/gpu.product, kubernetes.io/hostname, nvidia.com/gpu.replicas stays; take it out if it came with the slice',
    );
  });
  it.each([[[1]], ['x'], [[{ key: 1 }]], [[{ key: 'a', operator: 'In', values: [1] }]], [[null]]])(
    'counts for nothing where it is not as we write it: %j',
    (requirements) => expect(reviewed(forge(requirements), contextOf([])).spec.volumes).toEqual([]),
  );
});

it('two containers that share a volume at the place of the region get one each', () => {
  const volumeMounts = [{ name: 'penstock-vram-7', mountPath: '/penstock/vram/region' }];
  const containers = ['a', 'constructor'].map((name) => gpuContainer(name, 1, { volumeMounts }));
  const after = reviewed(slicedPod({}, { containers, volumes: [{ name: 'penstock-vram-7', emptyDir: {} }] }), context);
  expect(after.spec.volumes?.map(({ name }) => name)).toEqual([
    'penstock-vram-7',
    'penstock-vram-lib',
    'penstock-quota-7',
    'penstock-vram-0',
    'penstock-quota-0',
  ]);
});
