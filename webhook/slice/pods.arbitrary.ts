// SPDX-License-Identifier: Apache-2.0
// Generated pods and clusters. The pods keep to PodSecurity `restricted` and are what a real API server takes (test/integration).
import fc from 'fast-check';
import { GIB, gpuNode, SHARED } from './fixtures.ts';
import type { GpuNode, SharedOffer } from './inventory.ts';
import type { Container, EnvVar, Pod, PodSpec, VolumeMount } from './pod.ts';

const LONG_NAME = `c${'x'.repeat(61)}z`;
const NAMES = ['main', 'side', 'web-1', 'warm-up', LONG_NAME];
const GPU = 'nvidia.com/gpu';
/** Longest name of a container that fits behind `slice-ratio.` in a key. */
const FITS = 63 - 'slice-ratio.'.length;

const other: fc.Arbitrary<EnvVar> = fc.constantFrom<EnvVar>(
  { name: 'PLAIN', value: 'a/b~c' },
  { name: 'EMPTY', value: '' },
  { name: 'REFERS', value: '$(PLAIN):$(NOWHERE)' },
  { name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
);
const loader: fc.Arbitrary<EnvVar> = fc.constantFrom<EnvVar>(
  { name: 'LD_PRELOAD', value: '/opt/a.so' },
  { name: 'LD_PRELOAD', value: '/opt/a.so /opt/b.so:/opt/c.so' },
  { name: 'LD_PRELOAD', value: '' },
  { name: 'LD_PRELOAD', value: '/penstock/vram/lib/libpenstock_vram.so' },
  { name: 'LD_PRELOAD', valueFrom: { configMapKeyRef: { name: 'preload', key: 'objects' } } },
  { name: 'LD_PRELOAD', valueFrom: { secretKeyRef: { name: 'preload', key: 'objects', optional: true } } },
);
const env = fc
  .tuple(fc.uniqueArray(other, { maxLength: 3, selector: ({ name }) => name }), fc.option(loader), fc.nat(3))
  .map(([list, entry, at]) => (entry === null ? list : list.toSpliced(at, 0, entry)));

/** Beside GPUs: a network card, which not all nodes have. */
export const HCA = 'rdma/hca';

/** As users write them, and as the API server's defaults leave them. */
const resources = fc
  .tuple(
    fc.constantFrom(0, 0, 1, 1, 1, 1, 1, 1, 2),
    fc.constantFrom('both', 'limits', 'requests'),
    fc.constantFrom('1', '1', '1', '3', '1500m'),
    fc.nat(11).map((at) => (at === 0 ? 1 : 0)),
  )
  .map(([gpus, where, cpu, cards]) => {
    const network = cards === 0 ? {} : { [HCA]: String(cards) };
    const asked = { ...(gpus === 0 ? {} : { [GPU]: String(gpus) }), ...network };
    if (where === 'limits') return { limits: { cpu, ...asked } };
    // A device needs a limit: for GPUs it comes with the slice.
    const limits = cards === 0 ? {} : { limits: network };
    if (where === 'requests') return { ...limits, requests: { ...asked, memory: '64Mi' } };
    return { limits: { memory: '1Gi', ...asked }, requests: { memory: '1Gi', ...asked } };
  });

type Unnamed = Omit<Container, 'name'>;

const securityContext = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  runAsNonRoot: true,
  runAsUser: 1000,
};

const container: fc.Arbitrary<Unnamed> = fc.record(
  {
    image: fc.constant('registry.example/app:1'),
    env,
    envFrom: fc.constantFrom<unknown[]>(
      [{ configMapRef: { name: 'settings' } }],
      [{ prefix: 'APP_', secretRef: { name: 'keys' } }],
    ),
    resources,
    volumeMounts: fc.constantFrom<VolumeMount[]>(
      [{ name: 'data', mountPath: '/data' }],
      [{ name: 'data', mountPath: '/penstock-data' }],
    ),
  },
  { requiredKeys: ['image', 'resources'] },
);
const initContainer = fc
  .tuple(container, fc.boolean())
  .map(([made, sidecar]): Unnamed => (sidecar ? { ...made, restartPolicy: 'Always' } : made));

type Annotations = Record<string, string>;
const sizeOf = (names: readonly string[]): fc.Arbitrary<Annotations> => {
  const value = fc.oneof(
    fc.constantFrom(1, 1, 1, 2, 2, 3, 4, 5).map((count) => ['ratio', String(count)] as const),
    fc.constantFrom('512Mi', '2Gi', '7Gi', '20Gi', '40000M').map((bytes) => ['vram', bytes] as const),
  );
  const ofPod = value.map(([kind, text]): Annotations => ({
    [`penstock.dev/${kind === 'ratio' ? 'slice-ratio' : 'vram'}`]: text,
  }));
  const ofOne = fc
    .tuple(fc.constantFrom(...names), value, fc.boolean())
    .map(([name, [kind, text], short]): Annotations => {
      const key =
        short && name.length <= FITS
          ? `penstock.dev/${kind === 'ratio' ? 'slice-ratio' : 'vram'}.${name}`
          : `${name}.slice.penstock.dev/${kind}`;
      return { [key]: text };
    });
  const preset = fc
    .constantFrom('training', 'inference', 'batch', 'dev')
    .map((type): Annotations => ({ 'penstock.dev/workload-type': type }));
  return fc.oneof(
    fc.constant({}),
    ofPod,
    ofOne,
    preset,
    fc
      .tuple(ofPod, ofOne, preset)
      .map((all) => Object.assign<Annotations, Annotations, Annotations, Annotations>({}, ...all)),
  );
};

const affinity = fc.constantFrom<NonNullable<PodSpec['affinity']>>(
  {},
  { nodeAffinity: {} },
  {
    nodeAffinity: {
      requiredDuringSchedulingIgnoredDuringExecution: {
        nodeSelectorTerms: [
          { matchExpressions: [{ key: 'zone', operator: 'In', values: ['a', 'b'] }] },
          { matchFields: [{ key: 'metadata.name', operator: 'In', values: ['n0'] }] },
        ],
      },
    },
  },
);

/** A pod that opts in; some of its containers ask for GPUs, and mostly one does. */
export const podArbitrary: fc.Arbitrary<Pod> = fc
  .tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 0, max: 2 }), fc.shuffledSubarray(NAMES, { minLength: 5 }))
  .chain(([apps, inits, names]) => {
    const named = (made: Unnamed[], from: number): Container[] =>
      made.map((one, index) => ({ ...one, name: names[from + index] ?? '', securityContext }));
    return fc
      .record({
        apps: fc.array(container, { minLength: apps, maxLength: apps }),
        inits: fc.array(initContainer, { minLength: inits, maxLength: inits }),
        size: sizeOf(names.slice(0, apps + inits)),
        affinity: fc.option(affinity, { nil: undefined }),
        tolerations: fc.option(fc.constant([{ key: 'own', operator: 'Exists' }]), { nil: undefined }),
        nodeSelector: fc.constantFrom(undefined, undefined, undefined, undefined, { zone: 'a' }),
        user: fc.constantFrom(undefined, 1000),
      })
      .map(({ apps: made, inits: madeInits, size, user, ...rest }): Pod => {
        const optional = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
        return {
          metadata: {
            generateName: 'generated-',
            annotations: { 'example.com/team_a': 'x', 'penstock.dev/slice': 'true', ...size },
          },
          spec: {
            containers: named(made, 0),
            ...(madeInits.length > 0 ? { initContainers: named(madeInits, made.length) } : {}),
            volumes: [{ name: 'data', emptyDir: {} }],
            securityContext: {
              runAsNonRoot: true,
              seccompProfile: { type: 'RuntimeDefault' },
              ...(user ? { runAsUser: user } : {}),
            } as NonNullable<PodSpec['securityContext']>,
            ...optional,
          },
        };
      });
  });

/** `of`: cards of the node, if those of the resource are only some of them. */
const offer = (resource: string, cards: number, cardMemory: number, of = cards): fc.Arbitrary<SharedOffer> =>
  fc
    .record({
      slotsPerGPU: fc.constantFrom(1, 2, 3, 4, 5, 7, 8, 8, 10, 10, 16),
      packs: fc.boolean(),
      refusesMultiple: fc.constantFrom(false, false, false, true),
      mps: fc.constantFrom(false, false, false, true),
      stated: fc.option(fc.integer({ min: 1, max: 50 })),
    })
    .map(({ slotsPerGPU, packs, refusesMultiple, mps, stated }) => ({
      resource,
      mode: mps ? ('MPS' as const) : ('TimeSlicing' as const),
      slotsPerGPU,
      memoryPerSlot: stated === null ? Math.floor(cardMemory / slotsPerGPU) : stated * GIB,
      allocatable: cards * slotsPerGPU,
      refusesMultiple: mps || refusesMultiple,
      onOneCard: of === 1 || packs,
    }));

const instances = (cards: number): SharedOffer[] =>
  [
    ['1g.10gb', 10, 7],
    ['3g.40gb', 40, 2],
  ].map(([profile, gib, count]) => ({
    resource: `nvidia.com/mig-${profile}`,
    mode: 'MIG' as const,
    slotsPerGPU: Number(count),
    memoryPerSlot: Number(gib) * GIB,
    allocatable: Number(count) * cards,
    refusesMultiple: true,
    onOneCard: true,
  }));

/** As GPU feature discovery labels nodes; where it does not run there are none. */
function discovered(cardMemory: number, [first]: readonly SharedOffer[]): Record<string, string> {
  const replicas = first === undefined ? 4 : first.slotsPerGPU;
  return {
    'nvidia.com/gpu.memory': String(Math.floor(cardMemory / 2 ** 20)),
    'nvidia.com/gpu.replicas': String(first?.mode === 'MIG' ? 1 : replicas),
  };
}

const node = (index: number): fc.Arbitrary<GpuNode> =>
  fc
    .record({
      cards: fc.constantFrom(1, 1, 1, 2, 4),
      cardMemory: fc.constantFrom(24 * GIB, 80 * GIB, 80 * GIB - 12_345, 141 * GIB + 7),
      zone: fc.constantFrom('a', 'b'),
      kind: fc.constantFrom('shared', 'shared', 'shared', 'unrenamed', 'mig', 'whole', 'hidden', 'two'),
      taint: fc.constantFrom(undefined, undefined, undefined, 'own', 'maintenance'),
      labelled: fc.boolean(),
      state: fc.nat(11).map((at) => ['cordoned', 'not-ready', 'sick'][at]),
      cpu: fc.constantFrom(2000, 4000, 64_000, 64_000, 64_000, 64_000),
      network: fc.constantFrom(0, 8, 8),
    })
    .chain(({ cards, cardMemory: bytes, zone, kind, taint, labelled, state, cpu, network }) => {
      // The label is all that is known of a card that has one.
      const cardMemory = labelled ? bytes - (bytes % 2 ** 20) : bytes;
      const shared: Record<string, fc.Arbitrary<SharedOffer[]>> = {
        shared: offer(SHARED, cards, cardMemory).map((one) => [one]),
        unrenamed: offer(GPU, cards, cardMemory).map((one) => [one]),
        mig: fc.constant(instances(cards)),
        whole: fc.constant([]),
        hidden: fc.constant([]),
        two:
          cards === 1
            ? offer('example.com/part', 1, cardMemory).map((one) => [one])
            : fc.tuple(offer(SHARED, cards - 1, cardMemory, cards), offer('example.com/part', 1, cardMemory, cards)),
      };
      const hidden = { [SHARED]: 16, [GPU]: 16 };
      const others = kind === 'whole' ? { [GPU]: cards } : kind === 'hidden' ? hidden : {};
      return (shared[kind] ?? fc.constant([])).map((offers) => {
        const units = { ...Object.fromEntries(offers.map((one) => [one.resource, one.allocatable])), ...others };
        const now = state === 'sick' ? Object.fromEntries(Object.keys(units).map((name) => [name, 0])) : {};
        return gpuNode(`n${index}`, {
          cards,
          cardMemory,
          labels: { zone, ...(labelled ? discovered(cardMemory, offers) : {}) },
          shared: offers,
          // Of those that are hidden nobody knows what they are; also under labels that other nodes have.
          advertised: new Map([...Object.entries(units), [HCA, network]]),
          now: { ...now, cpu },
          unschedulable: state === 'cordoned',
          taints: [
            ...(taint === undefined ? [] : [{ key: taint, effect: 'NoSchedule' }]),
            ...(state === 'not-ready' ? [{ key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' }] : []),
          ],
        });
      });
    });

/** One to four nodes that differ in cards, memory, slots, mode, labels, taints, CPU, network cards, and in whether they take pods. */
export const nodesArbitrary: fc.Arbitrary<GpuNode[]> = fc
  .integer({ min: 1, max: 4 })
  .chain((count) => fc.tuple(...Array.from({ length: count }, (_, index) => node(index))));

/** Nodes with one card that join later: of any size and number of slots, as GPU feature discovery labels them. */
export const laterArbitrary: fc.Arbitrary<GpuNode[]> = fc.array(
  fc
    .record({
      cardMemory: fc.constantFrom(16 * GIB, 24 * GIB, 80 * GIB, 141 * GIB),
      slotsPerGPU: fc.constantFrom(2, 3, 4, 5, 7, 8, 10, 16),
      zone: fc.constantFrom('a', 'b'),
    })
    .map(({ cardMemory, slotsPerGPU, zone }) => {
      const made = gpuNode('later', { cardMemory, offer: { slotsPerGPU } });
      return { ...made, labels: { ...made.labels, zone, ...discovered(cardMemory, made.shared) } };
    }),
  { minLength: 6, maxLength: 6 },
);
