// SPDX-License-Identifier: Apache-2.0
// Plans and placements for tests of what a unit's Job looks like, by name.
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import type { Placement } from '#crds/placement.gen.ts';
import { validateInferenceApp, validatePlacement } from '#crds/validate.ts';
import type { JobSettings } from './job-settings.ts';
import type { UnitPlan } from './unit-driver.ts';

export const SETTINGS: JobSettings = {
  brokerUrl: 'http://penstock-gateway-internal.penstock-system.svc:8081',
  workerImage: 'penstock/worker:dev',
  imagePullPolicy: 'IfNotPresent',
};

export interface PlanCase {
  readonly plan: UnitPlan;
  readonly placement: Placement;
}

/** As the API server would store it. @throws when the spec is not valid */
function anApp(spec: object): InferenceApp {
  const document = {
    apiVersion: 'penstock.dev/v1alpha1',
    kind: 'InferenceApp',
    metadata: { name: 'ocr', namespace: 'team' },
    spec,
  };
  const verdict = validateInferenceApp(document);
  if (!verdict.ok) throw new Error(JSON.stringify(verdict.errors));
  return { ...verdict.value, metadata: { ...verdict.value.metadata, uid: '11111111-2222-3333-4444-555555555555' } };
}

function aPlacement(spec: object): Placement {
  const document = { apiVersion: 'penstock.dev/v1alpha1', kind: 'Placement', metadata: { name: 'pool' }, spec };
  const verdict = validatePlacement(document);
  if (!verdict.ok) throw new Error(JSON.stringify(verdict.errors));
  return verdict.value;
}

function aCase(spec: object, placement: object = { kubernetes: {}, allowedNamespaces: ['*'] }): PlanCase {
  const app = anApp(spec);
  const appUid = app.metadata.uid ?? '';
  return {
    plan: { unit: 'ocr-0123456789b', app, appUid, revision: '0123456789abcdef', placement: 'pool' },
    placement: aPlacement(placement),
  };
}

export const PLAN_CASES: Readonly<Record<string, PlanCase>> = {
  'handler-plain': aCase({ worker: { archetype: 'Handler', handler: 'handlers/ocr.ts', image: 'example/ocr:1' } }),
  'handler-everything': aCase(
    {
      worker: {
        archetype: 'Handler',
        handler: 'ocr.worker:Ocr',
        image: 'example/ocr:1',
        batchSize: 8,
        instances: 2,
        env: [
          { name: 'PLAIN', value: 'price $(HOME) is $5 and $$' },
          { name: 'EMPTY' },
          { name: 'OVERRIDDEN', value: 'by the placement' },
          { name: 'KEY', valueFrom: { secretKeyRef: { name: 'keys', key: 'api' } } },
        ],
        envFrom: [{ prefix: 'CFG_', configMapRef: { name: 'settings', optional: true } }],
      },
      resources: { gpu: { count: 2, type: 'NVIDIA-H100-80GB-HBM3' }, cpu: 4, memory: '16Gi' },
      request: { timeoutSeconds: 86_400 },
      scaling: { minUnits: 0, maxUnits: 4, concurrency: 8, maxJobs: 1000, startupGraceSeconds: 300 },
      placements: [
        {
          name: 'pool',
          overrides: { image: 'example/ocr:1-spot', instances: 4, env: [{ name: 'OVERRIDDEN', value: 'yes' }] },
        },
      ],
    },
    {
      kubernetes: {
        nodeSelectors: [{ 'example.dev/pool': 'a' }, { 'example.dev/pool': 'b', 'example.dev/zone': '1' }],
        tolerations: [{ key: 'spot', operator: 'Exists', effect: 'NoSchedule' }],
        affinity: {
          nodeAffinity: {
            requiredDuringSchedulingIgnoredDuringExecution: {
              nodeSelectorTerms: [
                { matchExpressions: [{ key: 'kubernetes.io/arch', operator: 'In', values: ['amd64'] }] },
              ],
            },
          },
        },
        runtimeClassName: 'nvidia',
      },
      allowedNamespaces: ['team'],
      pricing: 'Spot',
    },
  ),
  'sidecar-everything': aCase({
    worker: {
      archetype: 'Sidecar',
      image: 'example/server:1',
      command: ['/bin/server', '--greeting=$(NAME)'],
      args: ['--port', '8000'],
      env: [{ name: 'MODEL', value: 'small' }],
      server: {
        port: 8000,
        path: '/predict?mode=$fast',
        method: 'PUT',
        contentType: 'application/json',
        healthPath: '/health/ready',
        readyTimeoutSeconds: 120,
      },
    },
    resources: { gpu: {}, memory: '2Gi' },
    request: { timeoutSeconds: 60 },
    placements: [{ name: 'pool', overrides: { args: ['--port', '8000', '--spot'] } }],
  }),
  'handler-shared-gpu': aCase({
    worker: { archetype: 'Handler', handler: 'handlers/ocr.ts', image: 'example/ocr:1' },
    resources: { gpu: { slice: { mode: 'Shared', memory: '10Gi' } }, memory: '2Gi' },
  }),
  'handler-mig': aCase({
    worker: { archetype: 'Handler', handler: 'handlers/ocr.ts', image: 'example/ocr:1' },
    resources: { gpu: { count: 2, slice: { mode: 'MIG', profile: '1g.10gb' } } },
  }),
  'sidecar-template': aCase({
    worker: {
      archetype: 'Sidecar',
      image: 'example/server:1',
      env: [{ name: 'MODEL', value: 'small' }],
      server: { port: 8000 },
      podTemplate: {
        metadata: { labels: { team: 'vision' }, annotations: { 'example.com/note': 'text' } },
        spec: {
          serviceAccountName: 'models',
          automountServiceAccountToken: true,
          hostname: null,
          nodeSelector: { 'example.dev/disk': 'fast' },
          affinity: {
            podAntiAffinity: {
              requiredDuringSchedulingIgnoredDuringExecution: [
                { topologyKey: 'kubernetes.io/hostname', labelSelector: { matchLabels: { team: 'vision' } } },
              ],
            },
          },
          securityContext: { runAsUser: 1000, fsGroup: 1000 },
          volumes: [{ name: 'models', persistentVolumeClaim: { claimName: 'models' } }],
          initContainers: [
            { name: 'fetch', image: 'example/fetch:1', volumeMounts: [{ name: 'models', mountPath: '/models' }] },
            {
              name: 'server',
              securityContext: { runAsUser: 1001 },
              resources: { limits: { 'ephemeral-storage': '1Gi' } },
              volumeMounts: [{ name: 'models', mountPath: '/models', readOnly: true }],
            },
            { name: 'proxy', image: 'example/proxy:1', restartPolicy: 'Always' },
          ],
          containers: [{ name: 'worker', terminationMessagePolicy: 'FallbackToLogsOnError' }],
        },
      },
    },
    resources: { gpu: { type: 'NVIDIA-L4', slice: { mode: 'Shared', slots: 2 } }, memory: '2Gi' },
  }),
};
