// SPDX-License-Identifier: Apache-2.0
// The parts of batch/v1 Job, core/v1 Pod and Secret that units are made of and observed by; raw JSON otherwise.
import type { ObjectMeta } from '#crds/object-meta.ts';

export interface EnvVar {
  name: string;
  value?: string;
  valueFrom?: unknown;
}

export interface HttpProbe {
  httpGet: { path: string; port: number };
  periodSeconds: number;
  timeoutSeconds: number;
  failureThreshold: number;
}

export interface Container {
  name: string;
  image: string;
  imagePullPolicy?: string;
  command?: string[];
  args?: string[];
  env?: EnvVar[];
  envFrom?: unknown[];
  resources?: { limits?: Record<string, number | string>; requests?: Record<string, number | string> };
  /** `Always` on an init container makes it a native sidecar (KEP-753). */
  restartPolicy?: 'Always';
  ports?: { name: string; containerPort: number }[];
  startupProbe?: HttpProbe;
  readinessProbe?: HttpProbe;
  securityContext: Record<string, unknown>;
  volumeMounts: { name: string; mountPath: string; readOnly?: boolean }[];
}

export interface PodSpec {
  restartPolicy: 'Never';
  terminationGracePeriodSeconds: number;
  /** False, unless a pod template says otherwise. */
  automountServiceAccountToken: boolean;
  enableServiceLinks: boolean;
  securityContext: Record<string, unknown>;
  initContainers?: Container[];
  containers: Container[];
  volumes: { name: string; secret?: unknown; emptyDir?: Record<string, never> }[];
  nodeSelector?: Record<string, string>;
  affinity?: unknown;
  tolerations?: unknown[];
  runtimeClassName?: string;
}

export interface JobCondition {
  type: string;
  status: string;
  reason?: string;
  message?: string;
  lastTransitionTime?: string;
}

export interface Job {
  apiVersion: 'batch/v1';
  kind: 'Job';
  metadata: ObjectMeta;
  spec: {
    parallelism: 1;
    completions: 1;
    backoffLimit: 0;
    podReplacementPolicy: 'Failed';
    template: { metadata: Pick<ObjectMeta, 'labels' | 'annotations'>; spec: PodSpec };
  };
  status?: { active?: number; ready?: number; succeeded?: number; failed?: number; conditions?: JobCondition[] };
}

export interface ContainerState {
  waiting?: { reason?: string; message?: string };
  running?: { startedAt?: string };
  terminated?: { exitCode: number; reason?: string; message?: string; startedAt?: string };
}

export interface ContainerStatus {
  name: string;
  ready: boolean;
  restartCount: number;
  state?: ContainerState;
  lastState?: ContainerState;
}

export interface Pod {
  apiVersion: 'v1';
  kind: 'Pod';
  metadata: ObjectMeta;
  status?: {
    phase?: string;
    reason?: string;
    message?: string;
    startTime?: string;
    conditions?: JobCondition[];
    initContainerStatuses?: ContainerStatus[];
    containerStatuses?: ContainerStatus[];
  };
}

export interface Secret {
  apiVersion: 'v1';
  kind: 'Secret';
  metadata: ObjectMeta;
  type: 'Opaque';
  stringData: Record<string, string>;
}
