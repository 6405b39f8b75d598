// SPDX-License-Identifier: Apache-2.0
// The admission server's own process, called by a real API server: as installed by config/webhook, but reached at a port of this machine.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { OBJECTS } from '#crds/names.ts';
import type { Resource } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { startApiServer } from '../servers/apiserver.ts';
import type { ApiServer } from '../servers/apiserver.ts';
import { startChild } from '../servers/child.ts';
import type { Child } from '../servers/child.ts';
import { freePort } from '../servers/free-port.ts';
import { startTcpProxy } from '../tcp-proxy.ts';
import type { TcpProxy } from '../tcp-proxy.ts';
import { until } from '../until.ts';
import { aFixture } from './kube-fixture.ts';
import type { Fixture } from './kube-fixture.ts';
import { installAccount } from './webhook-certs.harness.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const SYSTEM = OBJECTS.systemNamespace;
/** The namespace in which the tests' pods are. */
export const TEAM = 'team';
export const RESTRICTED = { 'pod-security.kubernetes.io/enforce': 'restricted' };

const core = (kind: string, plural: string, namespaced = true): Resource => ({
  group: '',
  version: 'v1',
  kind,
  plural,
  namespaced,
});
const NODES = core('Node', 'nodes', false);

export interface WebhookCluster {
  readonly api: ApiServer;
  readonly admin: Fixture;
  /** Stands where the Service does: new connections of the API server lead to the process it points to. */
  readonly proxy: TcpProxy;
  /** Starts another replica and waits until it is ready. */
  replica(settings?: Readonly<Record<string, string>>): Promise<WebhookProcess>;
  stop(): Promise<void>;
}

export interface WebhookProcess {
  readonly port: number;
  /** What it says when it is asked whether it is ready. */
  readyz(): Promise<string>;
  /** A metric's lines, by their labels as printed, without component. */
  metric(name: string): Promise<Readonly<Record<string, number>>>;
  /** Sends a signal, and answers at once. */
  signal(name: NodeJS.Signals): void;
  readonly exited: Promise<number | null>;
  log(): string;
}

/** An API server with everything of config/ that the admission server needs, one sharing GPU node, and no admission server yet. */
export async function webhookCluster(
  flagsFor: (port: number) => Promise<readonly string[]> = async () => [],
): Promise<WebhookCluster> {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-webhook-'));
  const proxy = await startTcpProxy(1);
  const api = await startApiServer({ flags: await flagsFor(proxy.port) });
  const children: Child[] = [];
  const admin = aFixture(api.kubeconfig);
  const kubeconfig = await installAccount(api, folder);
  await installConfiguration(api, proxy.port);
  await gpuNode(admin);
  await namespace(api, TEAM);
  return {
    api,
    admin,
    proxy,
    replica: async (settings = {}) => {
      const started = await startReplica(folder, kubeconfig, settings);
      children.push(started.child);
      return started.process;
    },
    stop: async () => {
      for (const child of children) await child.end('SIGKILL');
      await proxy.close();
      await admin.client.close();
      await api.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The two configurations as they are shipped; only the Service is this machine, at another port. */
async function installConfiguration(api: ApiServer, port: number): Promise<void> {
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: SYSTEM, name: 'penstock-webhook' },
    spec: { type: 'ExternalName', externalName: 'localhost' },
  };
  const text = readFileSync(join(root, 'config/webhook/webhooks.yaml'), 'utf8');
  const shipped = parseAllDocuments(text).map((document) => document.toJS() as ShippedWebhooks);
  const here = shipped.map((configuration) => ({
    ...configuration,
    webhooks: configuration.webhooks.map((webhook) => ({
      ...webhook,
      clientConfig: { service: { ...webhook.clientConfig.service, port } },
    })),
  }));
  await apply(api, [service, ...here]);
}

interface ShippedWebhooks extends KubeObject {
  readonly webhooks: readonly { readonly clientConfig: { readonly service: object } }[];
}

/** There is no controller that would make the account, which every pod has to have. */
async function namespace(api: ApiServer, name: string): Promise<void> {
  await apply(api, [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels: RESTRICTED } },
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace: name, name: 'default' } },
  ]);
}

async function apply(api: ApiServer, items: readonly object[]): Promise<void> {
  const file = join(mkdtempSync(join(tmpdir(), 'penstock-apply-')), 'list.json');
  writeFileSync(file, JSON.stringify({ apiVersion: 'v1', kind: 'List', items }));
  await api.kube('apply', '-f', file);
  rmSync(join(file, '..'), { recursive: true, force: true });
}

/** One card of 80 GiB as four time slices, as GPU feature discovery and the device plugin describe it. */
async function gpuNode({ client }: Fixture): Promise<void> {
  const labels = {
    'nvidia.com/gpu.count': '1',
    'nvidia.com/gpu.memory': '81920',
    'nvidia.com/gpu.product': 'NVIDIA-A100-SXM4-80GB',
    'nvidia.com/gpu.replicas': '4',
    'nvidia.com/gpu.sharing-strategy': 'time-slicing',
  };
  await client.create(NODES, { metadata: { name: 'gpu', labels } });
  // Each node is made with the taint of one that is not ready; there is no controller here that would take it away.
  await client.patch(NODES, { name: 'gpu' }, { spec: { taints: null } }, { type: 'merge' });
  const resources = { 'nvidia.com/gpu.shared': '4', cpu: '8', memory: '64Gi', pods: '110' };
  const status = { capacity: resources, allocatable: resources };
  await client.patch(NODES, { name: 'gpu' }, { status }, { type: 'merge', subresource: 'status' });
}

async function startReplica(
  folder: string,
  kubeconfig: string,
  settings: Readonly<Record<string, string>>,
): Promise<{ child: Child; process: WebhookProcess }> {
  const [port, opsPort] = [await freePort(), await freePort()];
  const child = await startChild({
    command: process.execPath,
    args: [join(root, 'webhook/main.ts')],
    logFile: join(folder, `webhook-${port}.log`),
    env: {
      PATH: process.env['PATH'],
      PENSTOCK_KUBECONFIG: kubeconfig,
      PENSTOCK_INSTANCE: `webhook-${port}`,
      PENSTOCK_PORT: String(port),
      PENSTOCK_OPS_PORT: String(opsPort),
      PENSTOCK_VRAM_IMAGE: 'penstock/vram:dev',
      PENSTOCK_DRAIN_SECONDS: '8',
      ...settings,
    },
  });
  const ops = `http://127.0.0.1:${opsPort}`;
  const readyz = async (): Promise<string> => (await fetch(`${ops}/readyz`)).text();
  await until(async () => !child.running() || (await readyz()) === 'ok', {
    what: 'a ready webhook',
    timeoutMs: 60_000,
  });
  if (!child.running()) throw new Error(`the webhook has ended: ${child.log()}`);
  return {
    child,
    process: {
      port,
      readyz,
      metric: async (name) => metricOf(await (await fetch(`${ops}/metrics`)).text(), name),
      signal: (signal) => void process.kill(child.pid, signal),
      exited: child.exited,
      log: () => child.log(),
    },
  };
}

function metricOf(text: string, name: string): Readonly<Record<string, number>> {
  const lines = [...text.matchAll(/^(\w+)\{(.*)\} (\S+)$/gm)].filter(([, metric]) => metric === name);
  return Object.fromEntries(
    lines.map(([, , labels = '', value]) => [labels.replace(/,?component="webhook"/, ''), Number(value)]),
  );
}
