// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import type { ApiServer } from '#test/servers/apiserver.ts';
import { freePort } from '#test/servers/free-port.ts';
import { until } from '#test/until.ts';
import { LANES, SYSTEM, applyConfigurations, writeYaml } from './webhook-configurations.ts';
import { kubeNodes } from './webhook-nodes.ts';
import { NAMESPACE } from './webhook-reviews.ts';
import { startPinned } from './webhook-servers.ts';
import type { PinnedServer } from './webhook-servers.ts';

const run = promisify(execFile);
const ROOT = resolve(import.meta.dirname, '../..');
const MAIN = 'webhook/main.ts';
const BUNDLED = 'webhook.main.js';
export const IMAGE = 'penstock/vram:dev';
export const PULL_POLICY = 'IfNotPresent';

/** Nodes and namespaces. */
export async function prepareCluster(kube: ApiServer, folder: string): Promise<void> {
  const { gitVersion } = JSON.parse(await kube.kube('get', '--raw', '/version')) as { gitVersion: string };
  for (const name of [SYSTEM, NAMESPACE, ...Object.values(LANES)]) await kube.kube('create', 'namespace', name);
  const list = { apiVersion: 'v1', kind: 'List', items: kubeNodes(gitVersion) };
  const file = writeYaml(folder, 'nodes', list);
  await kube.kube('apply', '--server-side', '-f', file);
  await kube.kube('apply', '--server-side', '--subresource=status', '-f', file);
}

export interface Product extends PinnedServer {
  /** Its metrics. */
  readonly metrics: string;
}

/** The product as its image has it, with the settings of its Deployment, against this API server. */
export async function startProduct(kube: ApiServer, folder: string, core: number): Promise<Product> {
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
  return { ...server, port, metrics: `http://127.0.0.1:${opsPort}/metrics` };
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
