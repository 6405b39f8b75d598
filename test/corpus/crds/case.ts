// SPDX-License-Identifier: Apache-2.0

export type KindName = 'InferenceApp' | 'Placement';

/** A document and what both the API server and the local validator must make of it. */
export interface ValidCase {
  readonly name: string;
  readonly kind: KindName;
  readonly doc: unknown;
}

export interface InvalidCase extends ValidCase {
  /** Path that must be among the errors. Both name it. */
  readonly path: string;
  /** The API server answers 400 without naming a path; only its verdict and the local path are compared. */
  readonly silent?: true;
}

/** A change of an object that exists. Without `path` it is allowed. */
export interface Transition {
  readonly name: string;
  readonly old: Doc;
  readonly next: Doc;
  readonly path?: string;
}

export interface Doc {
  readonly [member: string]: unknown;
}

/** Member names and indexes from the document down: `spec.worker.env[0].name`. */
export type Path = string;

const STEP = /([^.[\]]+)|\[(\d+)\]/g;

/** A copy of the document with the values at some paths replaced; undefined removes the member. */
export function edit(doc: Doc, changes: Readonly<Record<Path, unknown>>): Doc {
  const copy = structuredClone(doc) as Record<string, unknown>;
  for (const [path, value] of Object.entries(changes)) put(copy, steps(path), value);
  return copy;
}

/** The value at a path, or undefined. */
export function valueAt(doc: unknown, path: Path): unknown {
  return steps(path).reduce<unknown>(
    (value, step) => (typeof value === 'object' && value !== null ? (value as Doc)[step] : undefined),
    doc,
  );
}

function steps(path: Path): string[] {
  return [...path.matchAll(STEP)].map((match) => match[1] ?? match[2] ?? '');
}

function put(target: Record<string, unknown>, [step, ...rest]: readonly string[], value: unknown): void {
  if (step === undefined) throw new Error('a path needs at least one step');
  if (rest.length > 0) {
    target[step] ??= /^\d+$/.test(rest[0] ?? '') ? [] : {};
    put(target[step] as Record<string, unknown>, rest, value);
  } else if (value === undefined) delete target[step];
  else target[step] = value;
}

function object(kind: KindName, name: string, spec: Doc): Doc {
  return { apiVersion: 'penstock.dev/v1alpha1', kind, metadata: { name }, spec };
}

/** The least that a Handler app needs. */
export const HANDLER = object('InferenceApp', 'handler', { worker: { archetype: 'Handler', handler: 'handler.ts' } });

/** The least that a Sidecar app needs. */
export const SIDECAR = object('InferenceApp', 'sidecar', {
  worker: { archetype: 'Sidecar', image: 'registry.example.com/model:1', server: { port: 8000 } },
});

/** The least that a Placement needs. */
export const PLACEMENT = object('Placement', 'placement', { kubernetes: {} });

const KEY_REF = { name: 'object', key: 'key.txt', optional: true };

const REST = {
  desiredState: 'Ready',
  resources: {
    gpu: { count: 2, type: 'NVIDIA-L4', slice: { mode: 'Shared', slots: 2 } },
    cpu: '1500m',
    memory: '2.5Gi',
  },
  request: {
    maxBytes: 1024,
    schema: { type: 'object', required: ['text'], properties: { text: { type: ['string', 'null'], const: null } } },
    timeoutSeconds: 30,
    resultRetentionSeconds: 3600,
    retry: { maxAttempts: 2, maxLosses: 2 },
  },
  scaling: {
    minUnits: 1,
    maxUnits: 4,
    requestsPerUnit: 5,
    concurrency: 3,
    maxScaleUpPerCycle: 2,
    scaleUpCooldownSeconds: 10,
    startupGraceSeconds: 60,
    idleLinger: { policy: 'Fixed', seconds: 3 },
    maxJobs: 100,
  },
};

/** What the pod of a unit may have beside Penstock's own fields; null is kept in a preserved field. */
const POD_TEMPLATE = {
  metadata: { labels: { team: 'vision' }, annotations: { 'example.com/note': 'any text' } },
  spec: {
    priorityClassName: 'batch',
    hostname: null,
    volumes: [{ name: 'scratch', emptyDir: { medium: 'Memory' } }],
    initContainers: [{ name: 'helper', image: 'helper:1', restartPolicy: 'Always' }],
    containers: [{ name: 'worker', volumeMounts: [{ name: 'scratch', mountPath: '/scratch' }] }],
  },
};

/** A Handler app with every field that one may have. */
export const FULL_HANDLER = object('InferenceApp', 'full-handler', {
  ...REST,
  worker: {
    archetype: 'Handler',
    image: 'registry.example.com/team/model@sha256:0123456789abcdef',
    handler: 'package.module:Class',
    batchSize: 8,
    env: [
      { name: 'PLAIN', value: 'with "quotes", ${braces} and\nnewlines' },
      { name: 'SECRET', valueFrom: { secretKeyRef: KEY_REF } },
      { name: 'CONFIG', valueFrom: { configMapKeyRef: KEY_REF } },
      { name: 'FIELD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
    ],
    envFrom: [
      { prefix: 'A_', configMapRef: { name: 'config', optional: true } },
      { prefix: 'B_', secretRef: { name: 'secret', optional: false } },
    ],
    instances: 2,
    revision: 'r-1.0',
    podTemplate: POD_TEMPLATE,
  },
  placements: [
    { name: 'first', overrides: { image: 'other:2', env: [{ name: 'PLAIN', value: '' }], instances: 1 } },
    { name: 'second' },
  ],
});

/** A Sidecar app with every field that one may have beside those of {@link FULL_HANDLER}. */
export const FULL_SIDECAR = object('InferenceApp', 'full-sidecar', {
  ...REST,
  worker: {
    archetype: 'Sidecar',
    image: 'model:1',
    command: ['/bin/server', '--verbose'],
    args: ['--port', '8000'],
    instances: 1,
    server: {
      port: 8000,
      path: '/predict?trace=0',
      method: 'PUT',
      contentType: 'application/json; charset=utf-8',
      healthPath: '/health',
      readyTimeoutSeconds: 60,
    },
  },
  placements: [{ name: 'first', overrides: { args: ['--small'] } }],
});

const EXPRESSIONS = {
  matchExpressions: [
    { key: 'example.com/kind', operator: 'In', values: ['a', 'b'] },
    { key: 'count', operator: 'Gt', values: ['3'] },
    { key: 'there', operator: 'Exists' },
  ],
};

/** Fields that exclude others of {@link FULL_HANDLER}. */
export const MIG_HANDLER = edit(HANDLER, { 'spec.resources': { gpu: { slice: { mode: 'MIG', profile: '1g.10gb' } } } });

/** Fields that exclude others of {@link FULL_HANDLER}. */
export const VRAM_HANDLER = edit(HANDLER, { 'spec.resources': { gpu: { slice: { mode: 'Shared', memory: '10Gi' } } } });

/** A Placement with every field. */
export const FULL_PLACEMENT = object('Placement', 'full-placement', {
  kubernetes: {
    cluster: 'in-cluster',
    nodeSelectors: [{ 'example.com/pool': 'a', zone: '' }, { zone: 'b' }],
    tolerations: [
      { key: 'nvidia.com/gpu', operator: 'Exists', effect: 'NoSchedule' },
      { key: 'spot', operator: 'Equal', value: 'true', effect: 'NoExecute', tolerationSeconds: 60 },
    ],
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [EXPRESSIONS] },
        preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 50, preference: EXPRESSIONS }],
      },
    },
    runtimeClassName: 'nvidia.v2',
  },
  allowedNamespaces: ['default', '*'],
  pricing: 'Spot',
  costPerHour: '2.49',
  sharing: { mode: 'TimeSlicing', resourceName: 'nvidia.com/gpu.shared', slotsPerGPU: 4, memoryPerSlot: '20Gi' },
  scheduleGraceSeconds: 120,
});
