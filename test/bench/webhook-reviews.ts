// SPDX-License-Identifier: Apache-2.0
// What kube-apiserver sends: pods of Deployments in full, with everything that it and its own admission plugins have filled in.

/** A path of the webhook, and the body that is posted to it. */
export interface Review {
  readonly path: string;
  readonly body: string;
}

type Json = Readonly<Record<string, unknown>>;

/** Namespace of the pods and apps; without a policy of its own. */
export const NAMESPACE = 'research';
/** So many pods that differ: more than a cache of the last few would hold. */
const VARIANTS = 256;
const IMAGE = `registry.example.com/research/vision-trainer@sha256:${'4f5e6d'.repeat(10)}0a1b`;

interface PodOptions {
  readonly annotations: Readonly<Record<string, string>>;
  readonly gpus: number;
}

/** By turns: a ratio, an amount of memory, a type of workload, and one that never opted in and keeps its whole GPU. */
const KINDS: readonly PodOptions[] = [
  { annotations: { 'penstock.dev/slice': 'true', 'penstock.dev/slice-ratio': '2' }, gpus: 1 },
  { annotations: { 'penstock.dev/slice': 'true', 'penstock.dev/vram': '10Gi' }, gpus: 1 },
  { annotations: { 'penstock.dev/slice': 'true', 'penstock.dev/workload-type': 'dev' }, gpus: 1 },
  { annotations: {}, gpus: 1 },
];
/** Of `KINDS`, those that are sliced. */
const SLICED = 3;

/** Pods that are sliced, and one in four that is not, each of about 4 kB. */
export function mixedReviews(): Review[] {
  return Array.from({ length: VARIANTS }, (_, at) => podReview(at, KINDS[at % KINDS.length]!));
}

export function slicedReviews(): Review[] {
  return Array.from({ length: VARIANTS }, (_, at) => podReview(at, KINDS[at % SLICED]!));
}

export function appReviews(): Review[] {
  return Array.from({ length: VARIANTS }, (_, at) => ({
    path: '/validate/inferenceapps',
    body: reviewOf(at, INFERENCE_APPS, inferenceApp(at)),
  }));
}

const PODS = { group: '', version: 'v1', kind: 'Pod', resource: 'pods' };
const INFERENCE_APPS = {
  group: 'penstock.dev',
  version: 'v1alpha1',
  kind: 'InferenceApp',
  resource: 'inferenceapps',
};

function podReview(at: number, options: PodOptions): Review {
  return { path: '/mutate/pods', body: reviewOf(at, PODS, fullPod(at, options)) };
}

function uidOf(at: number): string {
  return `7d0c6a52-9b1e-4c0f-8a55-${at.toString(16).padStart(12, '0')}`;
}

function reviewOf(at: number, { group, version, kind, resource }: typeof PODS, object: Json): string {
  const what = { kind: { group, version, kind }, resource: { group, version, resource } };
  const request = {
    uid: uidOf(at),
    ...what,
    requestKind: what.kind,
    requestResource: what.resource,
    namespace: NAMESPACE,
    operation: 'CREATE',
    userInfo: {
      username: 'system:serviceaccount:kube-system:replicaset-controller',
      uid: 'a9c3f8e4-3f0d-4a43-9f0a-1f1b5c4f4c55',
      groups: ['system:serviceaccounts', 'system:serviceaccounts:kube-system', 'system:authenticated'],
      extra: { 'authentication.kubernetes.io/credential-id': ['JTI=8f0a2f4e-6a63-4f9f-9a5b-2d0d3b0c9f11'] },
    },
    object,
    oldObject: null,
    dryRun: false,
    options: { kind: 'CreateOptions', apiVersion: 'meta.k8s.io/v1' },
  };
  return JSON.stringify({ kind: 'AdmissionReview', apiVersion: 'admission.k8s.io/v1', request });
}

/** As `kubectl create` of it by a person: what the API server fills in is left out. */
export function plainPod(name: string, at: number): Json {
  const { annotations, gpus } = KINDS[at % SLICED]!;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: labelsOf(at), annotations: { ...commonAnnotations(), ...annotations } },
    spec: {
      ...podSpec(gpus),
      // Nobody schedules it: what is measured is its admission.
      schedulingGates: [{ name: 'penstock.dev/bench' }],
    },
  };
}

function fullPod(at: number, { annotations, gpus }: PodOptions): Json {
  const spec = podSpec(gpus);
  return {
    kind: 'Pod',
    apiVersion: 'v1',
    metadata: {
      generateName: 'vision-trainer-6c9f7d5b8-',
      namespace: NAMESPACE,
      creationTimestamp: null,
      labels: labelsOf(at),
      annotations: { ...commonAnnotations(), ...annotations },
      ownerReferences: [
        {
          apiVersion: 'apps/v1',
          kind: 'ReplicaSet',
          name: 'vision-trainer-6c9f7d5b8',
          uid: '1c1e0d5a-62f6-4c89-8bd5-4f1c0ce7b7a3',
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
      managedFields: MANAGED_FIELDS,
    },
    spec: {
      ...spec,
      volumes: [...spec.volumes, TOKEN_VOLUME],
      containers: spec.containers.map((container) => ({
        ...container,
        terminationMessagePath: '/dev/termination-log',
        terminationMessagePolicy: 'File',
        volumeMounts: [...container.volumeMounts, TOKEN_MOUNT],
      })),
      dnsPolicy: 'ClusterFirst',
      serviceAccountName: 'trainer',
      serviceAccount: 'trainer',
      schedulerName: 'default-scheduler',
      tolerations: ['not-ready', 'unreachable'].map((state) => ({
        key: `node.kubernetes.io/${state}`,
        operator: 'Exists',
        effect: 'NoExecute',
        tolerationSeconds: 300,
      })),
      priority: 0,
      enableServiceLinks: true,
      preemptionPolicy: 'PreemptLowerPriority',
    },
    status: {},
  };
}

function labelsOf(at: number): Json {
  return {
    app: 'vision-trainer',
    'app.kubernetes.io/part-of': 'research',
    'pod-template-hash': '6c9f7d5b8',
    'batch-number': String(at),
  };
}

function commonAnnotations(): Readonly<Record<string, string>> {
  return { 'prometheus.io/scrape': 'true', 'prometheus.io/port': '9400', 'checksum/config': '9b74c9897bac770ffc0291' };
}

const variable = (name: string, value: string): Json => ({ name, value });

function podSpec(gpus: number) {
  return {
    volumes: [
      { name: 'scratch', emptyDir: {} },
      { name: 'settings', configMap: { name: 'vision-trainer', defaultMode: 420 } },
    ],
    containers: [trainer(gpus), exporter()],
    restartPolicy: 'Always',
    terminationGracePeriodSeconds: 30,
    securityContext: { runAsNonRoot: true, runAsUser: 1000, fsGroup: 1000, seccompProfile: { type: 'RuntimeDefault' } },
  };
}

function trainer(gpus: number) {
  const amounts = { cpu: '4', memory: '16Gi', 'nvidia.com/gpu': String(gpus) };
  return {
    name: 'trainer',
    image: IMAGE,
    command: ['python', '-m', 'vision.train'],
    args: ['--config', '/etc/trainer/config.yaml', '--checkpoint-every', '500'],
    env: [
      variable('NCCL_DEBUG', 'WARN'),
      variable('OMP_NUM_THREADS', '4'),
      variable('PYTORCH_CUDA_ALLOC_CONF', 'expandable_segments:True'),
      variable('DATA_BUCKET', 's3://research-datasets/vision/v7'),
      { name: 'POD_NAME', valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.name' } } },
      { name: 'WANDB_API_KEY', valueFrom: { secretKeyRef: { name: 'tracking', key: 'token' } } },
    ],
    ports: [{ name: 'metrics', containerPort: 9400, protocol: 'TCP' }],
    resources: { limits: amounts, requests: amounts },
    volumeMounts: [
      { name: 'scratch', mountPath: '/scratch' },
      { name: 'settings', readOnly: true, mountPath: '/etc/trainer' },
    ],
    readinessProbe: {
      httpGet: { path: '/healthz', port: 9400, scheme: 'HTTP' },
      timeoutSeconds: 1,
      periodSeconds: 10,
      successThreshold: 1,
      failureThreshold: 3,
    },
    imagePullPolicy: 'IfNotPresent',
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] }, readOnlyRootFilesystem: true },
  };
}

function exporter() {
  return {
    name: 'log-shipper',
    image: 'registry.example.com/platform/log-shipper:4.2.1',
    args: ['--follow', '/scratch/logs'],
    env: [variable('LOG_LEVEL', 'info'), variable('SINK', 'https://logs.research.svc:8443')],
    resources: { limits: { memory: '128Mi' }, requests: { cpu: '50m', memory: '128Mi' } },
    volumeMounts: [{ name: 'scratch', readOnly: true, mountPath: '/scratch' }],
    imagePullPolicy: 'IfNotPresent',
    securityContext: { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } },
  };
}

const TOKEN_MOUNT = {
  name: 'kube-api-access-x7k2p',
  readOnly: true,
  mountPath: '/var/run/secrets/kubernetes.io/serviceaccount',
};
const TOKEN_VOLUME = {
  name: TOKEN_MOUNT.name,
  projected: {
    sources: [
      { serviceAccountToken: { expirationSeconds: 3607, path: 'token' } },
      { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
      {
        downwardAPI: {
          items: [{ path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } }],
        },
      },
    ],
    defaultMode: 420,
  },
};

const fields = (...names: string[]): Json => Object.fromEntries(names.map((name) => [`f:${name}`, {}]));
const MANAGED_FIELDS = [
  {
    manager: 'kube-controller-manager',
    operation: 'Update',
    apiVersion: 'v1',
    time: '2026-11-21T12:00:00Z',
    fieldsType: 'FieldsV1',
    fieldsV1: {
      'f:metadata': {
        'f:annotations': { '.': {}, ...fields('checksum/config', 'penstock.dev/slice', 'prometheus.io/scrape') },
        'f:generateName': {},
        'f:labels': { '.': {}, ...fields('app', 'app.kubernetes.io/part-of', 'batch-number', 'pod-template-hash') },
        'f:ownerReferences': { '.': {}, 'k:{"uid":"1c1e0d5a-62f6-4c89-8bd5-4f1c0ce7b7a3"}': {} },
      },
      'f:spec': {
        'f:containers': {
          'k:{"name":"trainer"}': {
            '.': {},
            ...fields('args', 'command', 'env', 'image', 'imagePullPolicy', 'name', 'ports', 'readinessProbe'),
            ...fields('resources', 'securityContext', 'terminationMessagePath', 'volumeMounts'),
          },
        },
        ...fields('dnsPolicy', 'enableServiceLinks', 'restartPolicy', 'schedulerName', 'securityContext'),
        ...fields('serviceAccount', 'serviceAccountName', 'terminationGracePeriodSeconds', 'volumes'),
      },
    },
  },
];

function inferenceApp(at: number): Json {
  return {
    apiVersion: 'penstock.dev/v1alpha1',
    kind: 'InferenceApp',
    metadata: { name: `summarize-${at}`, namespace: NAMESPACE, uid: uidOf(at), generation: 1, labels: { team: 'nlp' } },
    spec: {
      worker: {
        archetype: 'Sidecar',
        image: 'vllm/vllm-openai:v0.11.0',
        args: ['--model', 'Qwen/Qwen3-8B', '--max-model-len', '32768'],
        env: [variable('VLLM_LOGGING_LEVEL', 'WARNING'), variable('SERVED_AS', `summarize-${at}`)],
        server: {
          port: 8000,
          path: '/v1/chat/completions',
          contentType: 'application/json',
          healthPath: '/health',
          readyTimeoutSeconds: 1200,
        },
      },
      resources: { gpu: { count: 1, type: 'NVIDIA-L4' }, cpu: '7', memory: '28Gi' },
      request: { maxBytes: 1_048_576, timeoutSeconds: 900, retry: { maxAttempts: 2 } },
      scaling: { minUnits: 0, maxUnits: 6, requestsPerUnit: 32, concurrency: 16, startupGraceSeconds: 1800 },
    },
  };
}
