// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { parse, parseAllDocuments, stringify } from 'yaml';
import type { ApiServer } from '#test/servers/apiserver.ts';
import { freePort } from '#test/servers/free-port.ts';
import { until } from '#test/until.ts';
import { kubeNodes } from './webhook-nodes.ts';
import { NAMESPACE } from './webhook-reviews.ts';
import { startPinned } from './webhook-servers.ts';
import type { PinnedServer } from './webhook-servers.ts';

const run = promisify(execFile);
const ROOT = resolve(import.meta.dirname, '../..');
const SYSTEM = 'penstock-system';
const SERVICE = 'penstock-webhook';
const MAIN = 'webhook/main.ts';
const BUNDLED = 'webhook.main.js';
/** Of the pods whose creates are timed: one that the webhook's configuration selects, and one that it leaves out. */
export const NAMESPACES = { seen: 'bench-seen', unseen: 'bench-unseen' };
export const IMAGE = 'penstock/vram:dev';
export const PULL_POLICY = 'IfNotPresent';

interface Item {
  readonly kind: string;
  readonly webhooks?: readonly HookEntry[];
}

interface HookEntry {
  readonly clientConfig: { readonly service: { readonly port: number } };
  readonly namespaceSelector?: { readonly matchExpressions: readonly unknown[] };
}

/** Nodes, namespaces, and the policy as it is deployed. */
export async function prepareCluster(kube: ApiServer, folder: string): Promise<void> {
  const { gitVersion } = JSON.parse(await kube.kube('get', '--raw', '/version')) as { gitVersion: string };
  for (const name of [SYSTEM, NAMESPACE, NAMESPACES.seen, NAMESPACES.unseen])
    await kube.kube('create', 'namespace', name);
  const list = { apiVersion: 'v1', kind: 'List', items: kubeNodes(gitVersion) };
  const file = writeYaml(folder, 'nodes', list);
  await kube.kube('apply', '--server-side', '-f', file);
  await kube.kube('apply', '--server-side', '--subresource=status', '-f', file);
  await kube.kube('apply', '-f', join(ROOT, 'config/webhook/slicing.yaml'));
}

/** The product as its image has it, with the settings of its Deployment, against this API server. */
export async function startProduct(kube: ApiServer, folder: string, core: number): Promise<PinnedServer> {
  const bundle = join(folder, 'app');
  await run(process.execPath, [join(ROOT, 'hack/images.ts'), '--bundle', MAIN, bundle]);
  const [port, opsPort] = [await freePort(), await freePort()];
  const env = {
    ...deployedEnv(),
    KUBECONFIG: kube.kubeconfig,
    PENSTOCK_KUBECONFIG: kube.kubeconfig,
    PENSTOCK_NAMESPACE: SYSTEM,
    PENSTOCK_HOST: '127.0.0.1',
    PENSTOCK_PORT: String(port),
    PENSTOCK_OPS_HOST: '127.0.0.1',
    PENSTOCK_OPS_PORT: String(opsPort),
    PENSTOCK_VRAM_IMAGE: IMAGE,
    PENSTOCK_IMAGE_PULL_POLICY: PULL_POLICY,
    PENSTOCK_DRAIN_SECONDS: '0',
  };
  await applyConfigurations(kube, folder, port);
  const profile = process.env['BENCH_PROFILE'];
  const flags = profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`];
  const command = [process.execPath, ...flags, join(bundle, BUNDLED)];
  const server = startPinned({ command, env, core });
  try {
    await until(async () => (await fetch(`http://127.0.0.1:${opsPort}/readyz`)).ok, {
      what: 'the webhook to be ready',
    });
  } catch (err) {
    await server.stop();
    throw err;
  }
  return { ...server, port };
}

/** What the Deployment says beside addresses: Node's own options above all. */
function deployedEnv(): Record<string, string> {
  const documents = parseAllDocuments(readFileSync(join(ROOT, 'config/webhook/deployment.yaml'), 'utf8'));
  const deployment = documents.map((one) => one.toJS() as Deployment).find(({ kind }) => kind === 'Deployment');
  const env = deployment?.spec.template.spec.containers[0]?.env ?? [];
  return Object.fromEntries(env.flatMap(({ name, value }) => (value === undefined ? [] : [[name, value]])));
}

interface Deployment {
  readonly kind: string;
  readonly spec: {
    readonly template: {
      readonly spec: { readonly containers: readonly { readonly env?: readonly { name: string; value?: string }[] }[] };
    };
  };
}

/**
 * The configurations as they are deployed, but for where the server is: a Service of type ExternalName leads the API server to a port of
 * this machine under the Service's own name, which is the one that the certificate bears.
 */
async function applyConfigurations(kube: ApiServer, folder: string, port: number): Promise<void> {
  const text = readFileSync(join(ROOT, 'config/webhook/webhooks.yaml'), 'utf8');
  const items = parseAllDocuments(text).map((document) => adapted(document.toJS() as Item, port));
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: SERVICE, namespace: SYSTEM },
    spec: { type: 'ExternalName', externalName: 'localhost', ports: [{ port }] },
  };
  const list = { apiVersion: 'v1', kind: 'List', items: [service, ...items] };
  await kube.kube('apply', '--server-side', '-f', writeYaml(folder, 'webhooks', list));
}

function adapted(item: Item, port: number): Item {
  return { ...item, webhooks: (item.webhooks ?? []).map((hook) => adaptedHook(hook, port)) };
}

function adaptedHook({ clientConfig, namespaceSelector, ...rest }: HookEntry, port: number): HookEntry {
  const leftOut = { key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: [NAMESPACES.unseen] };
  return {
    ...rest,
    clientConfig: { ...clientConfig, service: { ...clientConfig.service, port } },
    namespaceSelector: { matchExpressions: [...(namespaceSelector?.matchExpressions ?? []), leftOut] },
  };
}

function writeYaml(folder: string, name: string, value: unknown): string {
  const file = join(folder, `${name}.yaml`);
  writeFileSync(file, stringify(parse(JSON.stringify(value))));
  return file;
}
