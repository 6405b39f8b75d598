// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import type { Cluster } from '#test/servers/cluster-run.ts';

export interface PodStatus {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly volumes?: readonly Record<string, unknown>[];
    readonly serviceAccountName?: string;
    readonly automountServiceAccountToken?: boolean;
  };
  readonly status: {
    readonly phase: string;
    readonly containerStatuses?: readonly {
      readonly name: string;
      readonly containerID?: string;
      readonly restartCount: number;
      readonly ready: boolean;
      readonly state: { readonly running?: object };
    }[];
  };
}

const run = promisify(execFile);

/** SIGKILL, or another signal, to the first process of a running container, from outside: no hook, no grace, no good-bye. */
export async function killContainer(
  cluster: Cluster,
  pod: PodStatus,
  container: string,
  signal = 'SIGKILL',
): Promise<void> {
  const status = pod.status.containerStatuses?.find(({ name }) => name === container);
  const id = status?.state.running === undefined ? undefined : status.containerID?.replace('containerd://', '');
  if (id === undefined) throw new Error(`container ${container} of ${pod.metadata.name} does not run`);
  const socket = join(cluster.state, 'run/containerd.sock');
  await run(join(dirname(cluster.kubectl), 'ctr'), ['-a', socket, '-n', 'k8s.io', 'task', 'kill', '-s', signal, id]);
}

export async function podsOf(cluster: Cluster, namespace: string, selector: string): Promise<PodStatus[]> {
  const text = await cluster.kube('-n', namespace, 'get', 'pods', '-l', selector, '-o', 'json');
  return (JSON.parse(text) as { items: PodStatus[] }).items;
}

export function isRunning(pod: PodStatus, container: string): boolean {
  return (
    pod.status.containerStatuses?.some(({ name, state }) => name === container && state.running !== undefined) ?? false
  );
}
