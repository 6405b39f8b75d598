// SPDX-License-Identifier: Apache-2.0
// The ground that the other tests of this folder stand on: hack/kube brings up a real node, runs images that were made
// without Docker, and leaves nothing behind.
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runCluster, type Cluster } from '#test/servers/cluster-run.ts';
import { until } from '#test/until.ts';
import { CUDA_IMAGE, loadCudaImages } from './cuda-image.ts';
import { CARD_BYTES, SHARED, shareGpu, SLOTS } from './shared-gpu.ts';

const image = fileURLToPath(new URL('../../dist/images/sample-sidecar.tar', import.meta.url));

let cluster: Cluster;
let cgroupsBefore: string[];
const cgroups = (): string[] => globSync('/sys/fs/cgroup/{kubepods,*/kubepods}').toSorted();

beforeAll(async () => {
  cgroupsBefore = cgroups();
  if (!existsSync(image)) throw new Error(`no ${image}: make images`);
  cluster = await runCluster({ node: true });
  await cluster.cluster('load', image);
});
afterAll(async () => {
  await cluster?.stop();
});

const apply = (manifest: object): void => {
  execFileSync(cluster.kubectl, ['--kubeconfig', cluster.kubeconfig, 'apply', '-f', '-'], {
    input: JSON.stringify(manifest),
  });
};

/** As PodSecurity `restricted` wants it, with a read-only root. */
const pod = (args: object): object => ({
  restartPolicy: 'Never',
  securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
  containers: [
    {
      name: 'main',
      image: 'penstock/sample-sidecar:dev',
      imagePullPolicy: 'Never',
      securityContext: {
        readOnlyRootFilesystem: true,
        allowPrivilegeEscalation: false,
        capabilities: { drop: ['ALL'] },
      },
      ...args,
    },
  ],
});

test('a Job runs an image of ours as a user that is not root, on a read-only root, under PodSecurity restricted', async () => {
  apply({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name: 'strict', labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
  });
  const script =
    'console.log(process.getuid()); try { require("fs").writeFileSync("/x", "") } catch (e) { console.log(e.code) }';
  apply({
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: { name: 'who', namespace: 'strict' },
    spec: { backoffLimit: 0, template: { spec: pod({ command: ['node', '-e', script] }) } },
  });
  await cluster.kube('-n', 'strict', 'wait', '--for=condition=complete', 'job/who', '--timeout=60s');
  expect((await cluster.kube('-n', 'strict', 'logs', 'job/who')).trim().split('\n')).toEqual(['65532', 'EROFS']);
});

test('a Service is reached by its name from a pod and by its address from the host', async () => {
  apply({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'echo', namespace: 'strict', labels: { app: 'echo' } },
    spec: pod({ args: ['--port', '8000'] }),
  });
  apply({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'echo', namespace: 'strict' },
    spec: { selector: { app: 'echo' }, ports: [{ port: 80, targetPort: 8000 }] },
  });
  await cluster.kube('-n', 'strict', 'wait', '--for=condition=Ready', 'pod/echo', '--timeout=60s');
  const address = (
    await cluster.kube('-n', 'strict', 'get', 'service', 'echo', '-o', 'jsonpath={.spec.clusterIP}')
  ).trim();
  const answer = await until(() => fetch(`http://${address}/predict`, { method: 'POST', body: 'from the host' }), {
    what: 'the Service to answer',
  });
  expect(await answer.text()).toBe('FROM THE HOST');
  const script =
    'fetch("http://echo.strict.svc.cluster.local/healthz").then(async (r) => console.log(r.status, await r.text()))';
  const inside = await cluster.kube('-n', 'strict', 'exec', 'echo', '--', 'node', '-e', script);
  expect(inside.trim()).toBe('200 ok');
});

test('a GPU request waits until the node advertises a GPU', async () => {
  const phase = (): Promise<string> =>
    cluster.kube('-n', 'strict', 'get', 'pod', 'gpu', '-o', 'jsonpath={.status.phase} {.status.conditions[0].reason}');
  apply({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'gpu', namespace: 'strict' },
    spec: pod({ command: ['node', '--version'], resources: { limits: { 'nvidia.com/gpu': '1' } } }),
  });
  await until(async () => (await phase()) === 'Pending Unschedulable', { what: 'the scheduler to find no GPU' });
  await cluster.cluster('gpus', '1');
  await until(async () => (await phase()).startsWith('Succeeded'), { what: 'the pod to run', timeoutMs: 60_000 });
  expect(await cluster.kube('-n', 'strict', 'logs', 'gpu')).toMatch(/^v\d+/);
});

test('a device plugin gives a strict pod a fake driver, whose card is one for all its slots, and takes the slots away with itself', async () => {
  await loadCudaImages(cluster);
  const gpu = await shareGpu(cluster);
  const allocatable = `jsonpath={.items[0].status.allocatable.${SHARED.replaceAll('.', '\\.')}}`;
  const slots = (): Promise<string> => cluster.kube('get', 'nodes', '-o', allocatable);
  expect(await slots()).toBe(String(SLOTS));
  const bytes = 2 ** 30;
  const holding = { image: CUDA_IMAGE, stdin: true, command: ['vram-use', '--hold', String(bytes)] };
  for (const name of ['holds', 'sees']) {
    const spec = pod({ ...holding, resources: { limits: { [SHARED]: '1' } } });
    apply({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'strict' }, spec });
    await cluster.kube('-n', 'strict', 'wait', '--for=condition=Ready', `pod/${name}`, '--timeout=60s');
  }
  expect(await cluster.kube('-n', 'strict', 'logs', 'sees')).toBe(
    `${bytes} bytes: allocated\n${CARD_BYTES - 2 * bytes} of ${CARD_BYTES} bytes free\n`,
  );
  expect(new Set(gpu.allocations.flat()).size).toBe(2);
  await gpu.stop();
  await until(async () => (await slots()) === '0', { what: 'the node to advertise no slots' });
});

test('taken down with pods still running, it leaves no process, mount, network or cgroup behind', async () => {
  await cluster.stop();
  const commands = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && name !== String(process.pid))
    .map(readCommand);
  expect(commands.filter((command) => command.includes(cluster.state))).toEqual([]);
  expect(readFileSync('/proc/mounts', 'utf8')).not.toContain(cluster.state);
  expect(execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })).not.toContain('penstock');
  expect(execFileSync('ip', ['-o', 'link'], { encoding: 'utf8' })).not.toContain('penstock0');
  expect(cgroups()).toEqual(cgroupsBefore);
  expect(existsSync(cluster.state)).toBe(false);
});

function readCommand(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
  } catch {
    return ''; // it ended while we looked
  }
}
