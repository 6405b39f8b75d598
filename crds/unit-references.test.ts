// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { InferenceApp } from './inference-app.gen.ts';
import { unitImages } from './unit-images.ts';
import { unitReferences } from './unit-references.ts';

const spec = (worker: object, more: object = {}): InferenceApp['spec'] =>
  ({ worker: { archetype: 'Handler', ...worker }, ...more }) as InferenceApp['spec'];
const template = (pod: object): InferenceApp['spec'] => spec({ podTemplate: { spec: pod } });
const T = 'spec.worker.podTemplate.spec';
const KEY = { name: 'a', key: 'b' };

describe('references of an app', () => {
  test.each<[string, InferenceApp['spec'], string[]]>([
    ['none', spec({ image: 'a', env: [{ name: 'A', value: 'x' }] }), []],
    [
      'none of the pod itself',
      spec({ env: [{ name: 'A', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }] }),
      [],
    ],
    [
      'a Secret in env',
      spec({ env: [{ name: 'A', valueFrom: { secretKeyRef: KEY } }] }),
      ['spec.worker.env[0].valueFrom.secretKeyRef'],
    ],
    [
      'a ConfigMap in env',
      spec({ env: [{}, { name: 'A', valueFrom: { configMapKeyRef: KEY } }] }),
      ['spec.worker.env[1].valueFrom.configMapKeyRef'],
    ],
    [
      'sources of env',
      spec({ envFrom: [{ secretRef: KEY }, { configMapRef: KEY }] }),
      ['spec.worker.envFrom[0].secretRef', 'spec.worker.envFrom[1].configMapRef'],
    ],
    [
      'a Secret in one placement',
      spec(
        {},
        {
          placements: [
            { name: 'a' },
            { name: 'b', overrides: { env: [{ name: 'A', valueFrom: { secretKeyRef: KEY } }] } },
          ],
        },
      ),
      ['spec.placements[1].overrides.env[0].valueFrom.secretKeyRef'],
    ],
    ['a service account', template({ serviceAccountName: 'a' }), [`${T}.serviceAccountName`]],
    ['its token', template({ automountServiceAccountToken: true }), [`${T}.automountServiceAccountToken`]],
    ['no token', template({ automountServiceAccountToken: false, serviceAccountName: null }), []],
    ['a priority', template({ priorityClassName: 'a' }), [`${T}.priorityClassName`]],
    ['pull secrets', template({ imagePullSecrets: [{ name: 'a' }] }), [`${T}.imagePullSecrets[0]`]],
    ['claims', template({ resourceClaims: [{ name: 'a' }] }), [`${T}.resourceClaims[0]`]],
    [
      'harmless volumes',
      template({
        volumes: [
          { name: 'a', emptyDir: {} },
          { name: 'b', image: {} },
          { name: 'c', downwardAPI: {} },
        ],
      }),
      [],
    ],
    [
      'volumes of the namespace',
      template({
        volumes: ['secret', 'configMap', 'projected', 'persistentVolumeClaim', 'csi', 'nfs'].map((kind) => ({
          name: kind,
          [kind]: {},
        })),
      }),
      ['secret', 'configMap', 'projected', 'persistentVolumeClaim', 'csi', 'nfs'].map(
        (kind, i) => `${T}.volumes[${i}].${kind}`,
      ),
    ],
    [
      'env of a helper',
      template({
        initContainers: [{ name: 'a', env: [{ valueFrom: { secretKeyRef: KEY } }], envFrom: [{ secretRef: KEY }] }],
      }),
      [`${T}.initContainers[0].env[0].valueFrom.secretKeyRef`, `${T}.initContainers[0].envFrom[0].secretRef`],
    ],
    [
      'labels and annotations',
      spec({ podTemplate: { metadata: { labels: { app: 'shop' }, annotations: { a: 'b' } } } }),
      ['spec.worker.podTemplate.metadata.labels', 'spec.worker.podTemplate.metadata.annotations'],
    ],
    [
      'who finds it, whom it finds, and who places it when',
      template({
        hostname: 'a',
        subdomain: 'b',
        setHostnameAsFQDN: true,
        dnsPolicy: 'None',
        dnsConfig: { nameservers: ['10.0.0.1'] },
        hostAliases: [{ ip: '127.0.0.1', hostnames: ['x'] }],
        schedulerName: 'mine',
        schedulingGates: [{ name: 'a/b' }],
      }),
      [
        'dnsConfig',
        'dnsPolicy',
        'hostAliases',
        'hostname',
        'schedulerName',
        'schedulingGates',
        'setHostnameAsFQDN',
        'subdomain',
      ].map((key) => `${T}.${key}`),
    ],
    [
      'nothing of the kind',
      template({ hostname: '', schedulingGates: [], dnsConfig: {}, setHostnameAsFQDN: false, schedulerName: null }),
      [],
    ],
    [
      'devices of the nodes',
      template({
        resources: { limits: { memory: 1 } },
        containers: [{ resources: { limits: { 'rdma/hca': 1, cpu: 1 }, requests: { 'rdma/hca': 1 } } }],
      }),
      [`${T}.containers[0].resources.limits`, `${T}.containers[0].resources.requests`],
    ],
    [
      'pods of other namespaces to keep near or away from',
      template({
        affinity: {
          podAntiAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: [
              { topologyKey: 'a' },
              { topologyKey: 'a', namespaces: ['other'] },
              { topologyKey: 'a', namespaceSelector: {} },
            ],
            preferredDuringSchedulingIgnoredDuringExecution: [
              { weight: 1, podAffinityTerm: { namespaceSelector: { matchLabels: { a: 'b' } }, namespaces: ['a'] } },
            ],
          },
          podAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: [{ namespaces: ['other'] }],
            preferredDuringSchedulingIgnoredDuringExecution: [{ podAffinityTerm: { namespaces: ['other'] } }],
          },
        },
      }),
      [
        'podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].namespaces',
        'podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.namespaces',
        'podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[1].namespaces',
        'podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[2].namespaceSelector',
        'podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.namespaces',
        'podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.namespaceSelector',
      ].map((path) => `${T}.affinity.${path}`),
    ],
    [
      "none of pods of one's own namespace",
      template({
        affinity: {
          podAffinity: null,
          podAntiAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: [
              { topologyKey: 'a', namespaces: [], namespaceSelector: null, labelSelector: { matchLabels: { a: 'b' } } },
            ],
            preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 1, podAffinityTerm: null }],
          },
        },
      }),
      [],
    ],
    ['no labels', spec({ podTemplate: { metadata: { labels: {}, annotations: null } } }), []],
    [
      'nothing where a template is nonsense',
      template({ volumes: 'x', initContainers: [null, 1], imagePullSecrets: {} }),
      [],
    ],
  ])('%s', (_name, app, paths) => {
    expect(unitReferences(app).map(({ path }) => path)).toEqual(paths);
  });

  test('are named for people', () => {
    expect(unitReferences(spec({ envFrom: [{ secretRef: { name: 'hub' } }] }))).toEqual([
      { path: 'spec.worker.envFrom[0].secretRef', what: 'Secret "hub"' },
    ]);
  });
});

test("what of a template needs the right to create pods is said in the field's description", () => {
  const manifest = readFileSync(new URL('./penstock.dev_inferenceapps.yaml', import.meta.url), 'utf8');
  const [, description = ''] = /podTemplate:\s+type: object\s[^>]+>-\s([^]+?)\n {20}server:/.exec(manifest) ?? [];
  const term = { namespaces: ['a'], namespaceSelector: {} };
  const pod = {
    serviceAccountName: 'a',
    automountServiceAccountToken: true,
    imagePullSecrets: [{ name: 'a' }],
    priorityClassName: 'a',
    resourceClaims: [{ name: 'a' }],
    schedulerName: 'a',
    schedulingGates: [{ name: 'a' }],
    hostname: 'a',
    hostnameOverride: 'a',
    subdomain: 'a',
    setHostnameAsFQDN: true,
    hostAliases: [{ ip: '127.0.0.1' }],
    dnsPolicy: 'None',
    dnsConfig: { nameservers: ['10.0.0.1'] },
    affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [term] } },
    resources: { limits: { 'rdma/hca': 1 } },
  };
  const metadata = { labels: { a: 'b' }, annotations: { a: 'b' } };
  const found = unitReferences(spec({ podTemplate: { metadata, spec: pod } })).map(({ path }) => path);
  expect(found).toHaveLength(Object.keys(pod).length + 3);
  const words = found.map(
    (path) =>
      path
        .replace(/\[\d+\]$/, '')
        .replace('.limits', '')
        .split('.')
        .at(-1) ?? '',
  );
  expect(words.filter((word) => !new RegExp(`\\b${word}\\b`).test(description))).toEqual([]);
});

test('images of an app are those of the worker, of placements, of helpers and of volumes', () => {
  const podTemplate = {
    spec: { initContainers: [null, { image: 'c' }], volumes: [{ image: { reference: 'd' } }, { emptyDir: {} }] },
  };
  expect(
    unitImages(spec({ image: 'a', podTemplate }, { placements: [{ name: 'p', overrides: { image: 'b' } }] })),
  ).toEqual([
    { path: 'spec.worker.image', image: 'a' },
    { path: 'spec.placements[0].overrides.image', image: 'b' },
    { path: `${T}.initContainers[1].image`, image: 'c' },
    { path: `${T}.volumes[0].image.reference`, image: 'd' },
  ]);
  expect(unitImages(spec({}))).toEqual([]);
});
