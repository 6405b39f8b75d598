// SPDX-License-Identifier: Apache-2.0
// Who is called for which pod: the deployed configurations, and the same of the servers that the product is compared with.
import { readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse, parseAllDocuments, stringify } from 'yaml';
import type { ApiServer } from '#test/servers/apiserver.ts';
import type { LoadTarget } from './webhook-load.ts';

const ROOT = resolve(import.meta.dirname, '../..');
export const SYSTEM = 'penstock-system';
const SERVICE = 'penstock-webhook';
const NAMESPACE_LABEL = 'kubernetes.io/metadata.name';
/** Namespaces of the pods whose creates are timed, by who is called for them: nobody, a server that does nothing, the peer, the product. */
export const LANES = { nobody: 'bench-none', noop: 'bench-noop', peer: 'bench-peer', product: 'bench-ours' } as const;
export type Lane = keyof typeof LANES;

interface Item {
  readonly kind: string;
  readonly metadata: { readonly name: string };
  readonly webhooks?: readonly HookEntry[];
}

interface HookEntry {
  readonly name: string;
  readonly clientConfig: object & { readonly service: { readonly port: number } };
  readonly namespaceSelector?: { readonly matchExpressions: readonly unknown[] };
}

/**
 * The configurations as they are deployed, but for where the server is: a Service of type ExternalName leads the API server to a port of
 * this machine under the Service's own name, which is the one that the certificate bears.
 */
export async function applyConfigurations(kube: ApiServer, folder: string, port: number): Promise<void> {
  const items = deployed().map((item) => ({
    ...item,
    webhooks: (item.webhooks ?? []).map((hook) => ofProduct(hook, port)),
  }));
  const service = {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: SERVICE, namespace: SYSTEM },
    spec: { type: 'ExternalName', externalName: 'localhost', ports: [{ port }] },
  };
  const list = { apiVersion: 'v1', kind: 'List', items: [service, ...items] };
  await kube.kube('apply', '--server-side', '-f', writeYaml(folder, 'webhooks', list));
}

/** The product's entry for pods once more for each path of the peer: the same rules and conditions, another server. */
export async function applyPeer(kube: ApiServer, folder: string, { port }: LoadTarget, cert: string): Promise<void> {
  const pods = deployed().find(({ kind }) => kind === 'MutatingWebhookConfiguration');
  const entry = pods?.webhooks?.[0];
  if (pods === undefined || entry === undefined) throw new Error('config/webhook/webhooks.yaml has no entry for pods');
  const caBundle = readFileSync(cert).toString('base64');
  const items = (['noop', 'peer'] as const).map((lane) => ({
    ...pods,
    metadata: { name: LANES[lane] },
    webhooks: [
      {
        ...entry,
        name: `${LANES[lane]}.bench.test`,
        clientConfig: { url: `https://127.0.0.1:${port}${lane === 'noop' ? '/noop' : '/mutate/pods'}`, caBundle },
        namespaceSelector: { matchLabels: { [NAMESPACE_LABEL]: LANES[lane] } },
      },
    ],
  }));
  await kube.kube('apply', '-f', writeYaml(folder, 'peers', { apiVersion: 'v1', kind: 'List', items }));
}

function deployed(): Item[] {
  const text = readFileSync(join(ROOT, 'config/webhook/webhooks.yaml'), 'utf8');
  return parseAllDocuments(text).map((document) => document.toJS() as Item);
}

function ofProduct({ clientConfig, namespaceSelector, ...rest }: HookEntry, port: number): object {
  const leftOut = { key: NAMESPACE_LABEL, operator: 'NotIn', values: [LANES.nobody, LANES.noop, LANES.peer] };
  return {
    ...rest,
    clientConfig: { ...clientConfig, service: { ...clientConfig.service, port } },
    namespaceSelector: { matchExpressions: [...(namespaceSelector?.matchExpressions ?? []), leftOut] },
  };
}

export function writeYaml(folder: string, name: string, value: unknown): string {
  const file = join(folder, `${name}.yaml`);
  // Without the anchors that equal parts would be written as.
  writeFileSync(file, stringify(parse(JSON.stringify(value))));
  return file;
}
