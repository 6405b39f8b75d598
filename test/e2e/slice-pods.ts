// SPDX-License-Identifier: Apache-2.0
// Pods of a user who shares a GPU: what is written, and what is read back from the cluster.
import { execFile } from 'node:child_process';
import { until } from '#test/until.ts';
import type { Cluster } from '#test/servers/cluster-run.ts';
import { CUDA_IMAGE } from './cuda-image.ts';

/** PodSecurity `restricted` is enforced in it. */
export const SLICED = 'sliced';
/** Room for a list of 200 pods. */
const MAX_OUTPUT_BYTES = 16 * 2 ** 20;
const COMMAND_MS = 120_000;

export interface Container {
  readonly name: string;
  readonly image?: string;
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly resources?: { readonly limits?: Readonly<Record<string, string>> };
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}

/** As much of a pod as is looked at. */
export interface SlicePod {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly containers: readonly Container[];
    readonly initContainers?: readonly Container[];
    readonly ephemeralContainers?: readonly Container[];
    readonly volumes?: readonly Readonly<Record<string, unknown>>[];
  };
  readonly status: {
    readonly phase: string;
    readonly reason?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string; readonly reason?: string }[];
    readonly containerStatuses?: readonly {
      readonly name: string;
      readonly containerID?: string;
      readonly restartCount: number;
      readonly ready: boolean;
      readonly state: { readonly running?: object };
    }[];
  };
}

export interface Wish {
  readonly annotations?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  /** Of the container; default one `nvidia.com/gpu`. */
  readonly limits?: Readonly<Record<string, string>>;
  readonly command: readonly string[];
  readonly spec?: object;
}

/** A pod template as PodSecurity `restricted` wants it, with a read-only root; its program is held open by its standard input. */
export function template({ annotations = {}, labels = {}, limits, command, spec = {} }: Wish) {
  return {
    metadata: { annotations, labels },
    spec: {
      securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
      // As its own first process the program ignores SIGTERM. With 0 the pod would be gone, and its slots free, before its process is.
      terminationGracePeriodSeconds: 1,
      containers: [
        {
          name: 'main',
          image: CUDA_IMAGE,
          imagePullPolicy: 'Never',
          command,
          stdin: true,
          resources: { limits: limits ?? { 'nvidia.com/gpu': '1' } },
          securityContext: {
            readOnlyRootFilesystem: true,
            allowPrivilegeEscalation: false,
            capabilities: { drop: ['ALL'] },
          },
        },
      ],
      ...spec,
    },
  };
}

export function podOf(name: string, wish: Wish) {
  const { metadata, spec } = template(wish);
  return { apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: SLICED, ...metadata }, spec };
}

export interface Said {
  readonly code: number;
  readonly stdout: string;
  /** Warnings of the API server, and its refusals. */
  readonly stderr: string;
}

/** `kubectl create -f -` as a person sees it; does not throw when it is refused. */
export function create(cluster: Cluster, manifest: object, ...flags: string[]): Promise<Said> {
  return kubectl(cluster, ['create', '-f', '-', ...flags], JSON.stringify(manifest));
}

/** Creates or changes what names its namespace itself. */
export async function apply(cluster: Cluster, manifest: object): Promise<void> {
  const { code, stderr } = await kubectl(cluster, ['apply', '-f', '-'], JSON.stringify(manifest));
  if (code !== 0) throw new Error(`kubectl apply: ${stderr}`);
}

export function kubectl(cluster: Cluster, args: readonly string[], input = ''): Promise<Said> {
  const options = { maxBuffer: MAX_OUTPUT_BYTES, timeout: COMMAND_MS };
  return new Promise((resolve) => {
    const all = ['--kubeconfig', cluster.kubeconfig, ...args];
    const child = execFile(cluster.kubectl, all, options, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : 1, stdout, stderr });
    });
    child.stdin?.end(input);
  });
}

export async function pods(cluster: Cluster, selector: string): Promise<SlicePod[]> {
  const text = await cluster.kube('-n', SLICED, 'get', 'pods', '-l', selector, '-o', 'json');
  const { items } = JSON.parse(text) as { items: (SlicePod & { metadata: { deletionTimestamp?: string } })[] };
  return items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
}

export async function pod(cluster: Cluster, name: string): Promise<SlicePod> {
  return JSON.parse(await cluster.kube('-n', SLICED, 'get', 'pod', name, '-o', 'json')) as SlicePod;
}

export function isReady({ status }: SlicePod): boolean {
  return status.containerStatuses?.every(({ ready }) => ready) ?? false;
}

/** Every one of exactly so many pods is ready. */
export function readyPods(cluster: Cluster, selector: string, count: number): Promise<SlicePod[]> {
  return until(
    async () => {
      const all = await pods(cluster, selector);
      return all.length === count && all.every(isReady) && all;
    },
    { what: `${count} ready pods of ${selector}`, timeoutMs: 60_000, everyMs: 200 },
  );
}

/** Lines that the program printed since its container was last started. */
export async function lines(cluster: Cluster, name: string, container = 'main'): Promise<string[]> {
  return (await cluster.kube('-n', SLICED, 'logs', name, '-c', container)).trim().split('\n');
}

/** The words of vram-use, all of them. */
export async function told(cluster: Cluster, name: string, container = 'main'): Promise<string[]> {
  return await until(
    async () => {
      const all = await lines(cluster, name, container);
      return all.at(-1)?.endsWith('bytes free') && all;
    },
    { what: `${container} of ${name} to say what it got` },
  );
}
