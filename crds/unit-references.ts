// SPDX-License-Identifier: Apache-2.0
// What of the app's namespace a unit would get to see or use, by path: who makes an app with it must be somebody who may create pods
// there, or making an app would be a way around that.
import { echo, element, isRecord, member } from './field-error.ts';
import type { InferenceApp, InferenceAppEnv, InferenceAppWorker } from './inference-app.gen.ts';
import { POD_TEMPLATE } from './pod-template.ts';

export interface UnitReference {
  /** `spec.worker.envFrom[0].secretRef` */
  readonly path: string;
  /** For people: `Secret "hub-credentials"`. */
  readonly what: string;
}

type Json = Readonly<Record<string, unknown>>;

/** Volumes that hold nothing of the namespace. */
const HARMLESS_VOLUMES: readonly string[] = ['name', 'emptyDir', 'downwardAPI', 'image'];
/** By which name a pod is found, which names it finds, who places it and when: as labels, these reach beyond the pod. */
const POD_WIDE: readonly string[] = [
  'dnsConfig',
  'dnsPolicy',
  'hostAliases',
  'hostname',
  'hostnameOverride',
  'schedulerName',
  'schedulingGates',
  'setHostnameAsFQDN',
  'subdomain',
];
const REQUIRED = 'requiredDuringSchedulingIgnoredDuringExecution';
const PREFERRED = 'preferredDuringSchedulingIgnoredDuringExecution';
const KINDS: Readonly<Record<string, string>> = {
  secretKeyRef: 'Secret',
  secretRef: 'Secret',
  configMapKeyRef: 'ConfigMap',
  configMapRef: 'ConfigMap',
};

/** Every reference of an app's units, those in the pod template included. */
export function unitReferences({ worker, placements = [] }: InferenceApp['spec']): UnitReference[] {
  return [
    ...envReferences(worker.env, 'spec.worker.env'),
    ...envFromReferences(worker.envFrom, 'spec.worker.envFrom'),
    ...placements.flatMap(({ overrides }, index) =>
      envReferences(overrides?.env, `${element('spec.placements', index)}.overrides.env`),
    ),
    ...metadataReferences(worker.podTemplate?.['metadata']),
    ...templateReferences(worker.podTemplate),
  ];
}

function envReferences(env: readonly InferenceAppEnv[] | undefined, path: string): UnitReference[] {
  return records(env).flatMap(({ item, index }) => named(item['valueFrom'], member(element(path, index), 'valueFrom')));
}

function envFromReferences(sources: unknown, path: string): UnitReference[] {
  return records(sources).flatMap(({ item, index }) => named(item, element(path, index)));
}

/** The members of a value that name a Secret or a ConfigMap. */
function named(value: unknown, path: string): UnitReference[] {
  if (!isRecord(value)) return [];
  return Object.entries(KINDS).flatMap(([key, kind]) => {
    const ref = value[key];
    return isRecord(ref) ? [{ path: member(path, key), what: `${kind} ${JSON.stringify(ref['name'] ?? '')}` }] : [];
  });
}

/** By labels Services send traffic and policies open doors; by annotations other programs inject credentials. */
function metadataReferences(metadata: unknown): UnitReference[] {
  if (!isRecord(metadata)) return [];
  return ['labels', 'annotations']
    .filter((key) => Object.keys(metadata[key] ?? {}).length > 0)
    .map((key) => ({ path: `${POD_TEMPLATE}.metadata.${key}`, what: `${key} of a pod` }));
}

function templateReferences(template: InferenceAppWorker['podTemplate']): UnitReference[] {
  const spec = template?.['spec'];
  if (!isRecord(spec)) return [];
  const path = member(POD_TEMPLATE, 'spec');
  return [
    ...accountReferences(spec, path),
    ...POD_WIDE.filter((key) => says(spec[key])).map((key) => ({ path: member(path, key), what: `${key} of a pod` })),
    ...affinityReferences(spec['affinity'], member(path, 'affinity')),
    ...resourceReferences(spec, path),
    ...records(spec['volumes']).flatMap(({ item, index }) =>
      volumeReferences(item, element(member(path, 'volumes'), index)),
    ),
    ...['initContainers', 'containers'].flatMap((list) =>
      records(spec[list]).flatMap(({ item, index }) => {
        const at = element(member(path, list), index);
        return [
          ...envReferences(item['env'] as InferenceAppEnv[] | undefined, member(at, 'env')),
          ...envFromReferences(item['envFrom'], member(at, 'envFrom')),
          ...resourceReferences(item, at),
        ];
      }),
    ),
  ];
}

/** What the pod is as a whole: whose rights, whose credentials, whose share of the cluster. */
function accountReferences(spec: Json, path: string): UnitReference[] {
  const texts: readonly [string, string][] = [
    ['serviceAccountName', 'ServiceAccount'],
    ['priorityClassName', 'PriorityClass'],
  ];
  return [
    ...texts
      .filter(([key]) => (spec[key] ?? '') !== '')
      .map(([key, kind]) => ({ path: member(path, key), what: `${kind} ${JSON.stringify(spec[key])}` })),
    ...(spec['automountServiceAccountToken'] === true
      ? [{ path: member(path, 'automountServiceAccountToken'), what: "the service account's token" }]
      : []),
    ...records(spec['imagePullSecrets']).map(({ item, index }) => ({
      path: element(member(path, 'imagePullSecrets'), index),
      what: `Secret ${JSON.stringify(item['name'] ?? '')}`,
    })),
    ...records(spec['resourceClaims']).map(({ index }) => ({
      path: element(member(path, 'resourceClaims'), index),
      what: 'a ResourceClaim',
    })),
  ];
}

/** To be kept away from holds for the other pod, too: whoever says so of pods elsewhere keeps them off the nodes of his own. */
function affinityReferences(affinity: unknown, path: string): UnitReference[] {
  if (!isRecord(affinity)) return [];
  return ['podAffinity', 'podAntiAffinity'].flatMap((kind) => {
    const rules = affinity[kind];
    if (!isRecord(rules)) return [];
    const at = member(path, kind);
    return [
      ...records(rules[REQUIRED]).flatMap(({ item, index }) =>
        termReferences(item, element(member(at, REQUIRED), index)),
      ),
      ...records(rules[PREFERRED]).flatMap(({ item, index }) =>
        termReferences(item['podAffinityTerm'], member(element(member(at, PREFERRED), index), 'podAffinityTerm')),
      ),
    ];
  });
}

function termReferences(term: unknown, path: string): UnitReference[] {
  if (!isRecord(term)) return [];
  const { namespaces, namespaceSelector } = term;
  // An empty selector selects every namespace.
  const named = [
    ...(says(namespaces) ? ['namespaces'] : []),
    ...(isRecord(namespaceSelector) ? ['namespaceSelector'] : []),
  ];
  return named.map((key) => ({ path: member(path, key), what: 'affinity to pods of other namespaces' }));
}

/** Devices of the nodes, which no ceiling of a tenant counts. */
function resourceReferences({ resources }: Json, path: string): UnitReference[] {
  if (!isRecord(resources)) return [];
  return ['limits', 'requests'].flatMap((list) => {
    const entries = resources[list];
    const names = isRecord(entries) ? Object.keys(entries).filter((name) => name.includes('/')) : [];
    return names.map((name) => ({ path: member(path, `resources.${list}`), what: `resource ${echo(name)}` }));
  });
}

/** Whether a field is there and not empty. */
function says(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0;
  return value !== undefined && value !== null && value !== '' && value !== false;
}

function volumeReferences(volume: Json, path: string): UnitReference[] {
  return Object.keys(volume)
    .filter((key) => !HARMLESS_VOLUMES.includes(key) && volume[key] !== null)
    .map((key) => ({ path: member(path, key), what: `a volume of kind ${key}` }));
}

function records(list: unknown): { item: Json; index: number }[] {
  if (!Array.isArray(list)) return [];
  return list.flatMap((item: unknown, index) => (isRecord(item) ? [{ item, index }] : []));
}
