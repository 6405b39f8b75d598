// SPDX-License-Identifier: Apache-2.0
// Penstock on a node of the test's own, installed as a person would: images loaded, `kubectl apply -k`, nothing else.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { runCluster, type Cluster } from '#test/servers/cluster-run.ts';
import { Client } from './client.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const images = [
  'operator',
  'gateway',
  'webhook',
  'vram',
  'worker',
  'redis',
  'minio',
  'sample-handler',
  'sample-sidecar',
];
/** Two at a time: unpacking is work for one core. */
const LOADS_AT_ONCE = 2;
const workloads = [
  'statefulset/penstock-redis',
  'statefulset/penstock-minio',
  'deployment/penstock-gateway',
  'deployment/penstock-operator',
  'deployment/penstock-webhook',
];

export const SYSTEM = 'penstock-system';
/** Key of tenant `default` in deploy/overlays/local/tenants.yaml. */
export const API_KEY = 'penstock-local-key';
/** Where the samples go; enforced as strictly as Penstock's own namespace. */
export const APPS = 'default';

export interface Installation {
  readonly cluster: Cluster;
  /** Talks to the Service of the gateways, by its address. */
  readonly client: Client;
  /** Seconds that each step of the installation took. */
  readonly steps: Readonly<Record<string, number>>;
  readonly apply: (manifest: object) => void;
  /** Applies a file of the repository. */
  readonly applyFile: (file: string) => Promise<void>;
  /** `kubectl get … -o json` in the apps' namespace, the items of a list. */
  readonly list: (kind: string, selector?: string) => Promise<unknown[]>;
  readonly stop: () => Promise<void>;
}

export async function install(): Promise<Installation> {
  const archives = images.map((name) => `${root}dist/images/${name}.tar`);
  const missing = archives.filter((file) => !existsSync(file));
  if (missing.length > 0) throw new Error(`not there: ${missing.join(', ')}; run: make images`);
  const steps: Record<string, number> = {};
  const timed = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    const since = performance.now();
    const done = await work();
    steps[what] = Math.round((performance.now() - since) / 100) / 10;
    return done;
  };
  const cluster = await timed('node', () => runCluster({ node: true }));
  try {
    await timed('images', () => load(cluster, archives));
    await timed('apply', () => applyOverlay(cluster));
    await timed('ready', () => ready(cluster));
    return { ...handles(cluster, await gatewayUrl(cluster)), steps };
  } catch (error) {
    console.error(await diagnosis(cluster));
    await cluster.stop();
    throw error;
  }
}

async function load(cluster: Cluster, archives: readonly string[]): Promise<void> {
  const rest = archives.values();
  const loader = async (): Promise<void> => {
    for (const archive of rest) await cluster.cluster('load', archive);
  };
  await Promise.all(Array.from({ length: LOADS_AT_ONCE }, loader));
}

async function applyOverlay(cluster: Cluster): Promise<void> {
  await cluster.kube('label', 'namespace', APPS, 'pod-security.kubernetes.io/enforce=restricted');
  await cluster.kube('apply', '-k', `${root}deploy/overlays/local`);
}

async function ready(cluster: Cluster): Promise<void> {
  for (const workload of workloads) await cluster.kube('-n', SYSTEM, 'rollout', 'status', workload, '--timeout=100s');
}

async function gatewayUrl(cluster: Cluster): Promise<string> {
  const address = ['service/penstock-gateway', '-o', 'jsonpath={.spec.clusterIP}'];
  return `http://${await cluster.kube('-n', SYSTEM, 'get', ...address)}`;
}

function handles(cluster: Cluster, url: string): Omit<Installation, 'steps'> {
  return {
    cluster,
    client: new Client(url, API_KEY),
    apply: (manifest) => {
      const args = ['--kubeconfig', cluster.kubeconfig, '-n', APPS, 'apply', '-f', '-'];
      execFileSync(cluster.kubectl, args, { input: JSON.stringify(manifest) });
    },
    applyFile: async (file) => void (await cluster.kube('-n', APPS, 'apply', '-f', `${root}${file}`)),
    list: async (kind, selector = '') => {
      const text = await cluster.kube('-n', APPS, 'get', kind, '-l', selector, '-o', 'json');
      return (JSON.parse(text) as { items: unknown[] }).items;
    },
    stop: () => cluster.stop(),
  };
}

/** What a person would look at first when something does not work. */
export async function diagnosis(cluster: Cluster): Promise<string> {
  const looks = [
    ['get', 'pods,jobs,iapp,plc', '-A', '-o', 'wide'],
    ['get', 'events', '-A', '--sort-by=.lastTimestamp'],
    ['-n', SYSTEM, 'logs', '-l', 'app.kubernetes.io/name=penstock-operator', '--tail=40', '--prefix'],
    ['-n', SYSTEM, 'logs', '-l', 'app.kubernetes.io/name=penstock-gateway', '--tail=40', '--prefix'],
    ['-n', SYSTEM, 'logs', '-l', 'app.kubernetes.io/name=penstock-webhook', '--tail=40', '--prefix'],
    ['-n', APPS, 'logs', '-l', 'penstock.dev/unit', '--all-containers', '--tail=20', '--prefix'],
  ];
  const said = looks.map(async (args) => {
    const answer = await cluster.kube(...args).catch((error: unknown) => String(error));
    return `$ kubectl ${args.join(' ')}\n${answer}`;
  });
  return (await Promise.all(said)).join('\n');
}
