// SPDX-License-Identifier: Apache-2.0
// The overlay with cert-manager, as kustomize builds it: cert-manager itself is not here, so what it would act on is read as it would.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { OBJECTS } from '#crds/names.ts';
import type { KubeObject } from '#kube/types.ts';
import { startApiServer } from '../servers/apiserver.ts';
import type { ApiServer } from '../servers/apiserver.ts';
import { sharedKube } from '../servers/kube.ts';

interface Certificate extends KubeObject {
  readonly spec: {
    readonly secretName: string;
    readonly isCA?: boolean;
    readonly dnsNames?: readonly string[];
    readonly duration: string;
    readonly renewBefore: string;
    readonly issuerRef: { readonly kind: string; readonly name: string };
  };
}

interface Issuer extends KubeObject {
  readonly spec: { readonly selfSigned?: object; readonly ca?: { readonly secretName: string } };
}

interface Deployment extends KubeObject {
  readonly spec: {
    readonly template: {
      readonly spec: { readonly containers: readonly { readonly env: readonly { name: string; value?: string }[] }[] };
    };
  };
}

const root = fileURLToPath(new URL('../..', import.meta.url));

function build(folder: string): readonly KubeObject[] {
  const options = { encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 } as const;
  const text = execFileSync(sharedKube().kubectl, ['kustomize', `${root}/${folder}`], options);
  return parseAllDocuments(text).map((document) => document.toJS() as KubeObject);
}

const keyOf = ({ kind, metadata }: KubeObject): string => `${kind} ${metadata.name}`;
const built = build('deploy/overlays/cert-manager');
const find = (kind: string, name: string): KubeObject | undefined =>
  built.find((object) => object.kind === kind && object.metadata.name === name);

describe('deploy/overlays/cert-manager', () => {
  it('is config/default with two Issuers and Certificates more, and without the rights to write certificates', () => {
    const here = new Set(built.map(keyOf));
    const there = new Set(build('config/default').map(keyOf));
    expect([...here].filter((key) => !there.has(key)).toSorted()).toEqual([
      'Certificate penstock-webhook',
      'Certificate penstock-webhook-ca',
      'Issuer penstock-webhook',
      'Issuer penstock-webhook-self-signed',
    ]);
    expect([...there].filter((key) => !here.has(key)).toSorted()).toEqual(
      ['ClusterRole', 'ClusterRoleBinding', 'Role', 'RoleBinding'].map(
        (kind) => `${kind} penstock-webhook-certificates`,
      ),
    );
  });

  it('leaves the webhook no right to write a Secret or a webhook configuration', () => {
    const roles = built.filter(({ kind, metadata }) => kind?.endsWith('Role') && metadata.name === 'penstock-webhook');
    const rules = roles.flatMap(
      (role) => (role as KubeObject & { rules: { resources: string[]; verbs: string[] }[] }).rules,
    );
    const guarded = rules.filter(({ resources }) =>
      resources.some((resource) => resource === 'secrets' || resource.endsWith('webhookconfigurations')),
    );
    expect(guarded.flatMap(({ verbs }) => verbs).toSorted()).toEqual(['get', 'list', 'watch']);
  });

  it("makes the leaf in the webhook's Secret, for the name by which the API server calls", () => {
    const { metadata, spec } = find('Certificate', 'penstock-webhook') as Certificate;
    expect(metadata.namespace).toBe(OBJECTS.systemNamespace);
    expect(spec.secretName).toBe(OBJECTS.webhookSecret);
    const configurations = built.filter(({ kind }) => kind?.endsWith('WebhookConfiguration'));
    const hosts = configurations.flatMap((object) =>
      (
        object as KubeObject & { webhooks: { clientConfig: { service: { name: string; namespace: string } } }[] }
      ).webhooks.map(({ clientConfig: { service } }) => `${service.name}.${service.namespace}.svc`),
    );
    expect(hosts.length).toBeGreaterThanOrEqual(4);
    for (const host of hosts) expect(spec.dnsNames).toContain(host);
  });

  it('signs it by a CA that outlives it, so that a renewed leaf never changes the caBundle', () => {
    const leaf = find('Certificate', 'penstock-webhook') as Certificate;
    const issuer = find('Issuer', leaf.spec.issuerRef.name) as Issuer;
    const authority = find('Certificate', 'penstock-webhook-ca') as Certificate;
    expect(issuer.spec.ca?.secretName).toBe(authority.spec.secretName);
    expect(authority.spec.isCA).toBe(true);
    expect((find('Issuer', authority.spec.issuerRef.name) as Issuer).spec.selfSigned).toEqual({});
    const hours = (duration: string): number => Number(/^(\d+)h$/.exec(duration)?.[1]);
    expect(hours(authority.spec.renewBefore)).toBeGreaterThan(hours(leaf.spec.duration));
    expect(hours(leaf.spec.duration)).toBeGreaterThan(hours(leaf.spec.renewBefore));
  });

  it('has the CA put into both configurations, and the webhook only serve', () => {
    const sources = [
      find('MutatingWebhookConfiguration', OBJECTS.podsWebhook),
      find('ValidatingWebhookConfiguration', OBJECTS.objectsWebhook),
    ].map((object) => object?.metadata.annotations?.['cert-manager.io/inject-ca-from']);
    expect(sources).toEqual(['penstock-system/penstock-webhook', 'penstock-system/penstock-webhook']);
    const [container] = (find('Deployment', 'penstock-webhook') as Deployment).spec.template.spec.containers;
    expect(container?.env).toContainEqual({ name: 'PENSTOCK_CERTIFICATES', value: 'external' });
    expect(container?.env).toContainEqual({ name: 'PENSTOCK_PORT', value: '9443' });
  });
});

describe("coming from the webhook's own certificates", () => {
  const account = `--as=system:serviceaccount:${OBJECTS.systemNamespace}:penstock-webhook`;
  let api: ApiServer;
  const may = (): Promise<string> =>
    api.kube('auth', 'can-i', 'patch', 'mutatingwebhookconfigurations/penstock-pods', account).catch(() => 'no');
  beforeAll(async () => {
    api = await startApiServer();
    await api.kube('create', 'namespace', OBJECTS.systemNamespace);
    await api.kube('apply', '-k', `${root}/config/rbac`);
    await api.kube('-n', OBJECTS.systemNamespace, 'create', 'secret', 'generic', OBJECTS.webhookSecret);
  });
  afterAll(() => api.stop());

  it('the commands of its README take its rights away', async () => {
    expect((await may()).trim()).toBe('yes');
    const [, commands = ''] =
      /```sh\n(.*?)```/s.exec(readFileSync(`${root}/deploy/overlays/cert-manager/README.md`, 'utf8')) ?? [];
    const lines = commands.trim().split('\n');
    expect(lines).toHaveLength(4);
    for (const line of lines.slice(0, 3)) await api.kube(...line.replace(/^kubectl /, '').split(' '));
    expect(lines[3]).toContain(account);
    expect((await may()).trim()).toBe('no');
    // Nothing of it is left for the account, in the namespace or beyond it.
    const left = await api.kube('get', 'clusterroles,clusterrolebindings,roles,rolebindings', '-A', '-o', 'name');
    expect(left).not.toContain('penstock-webhook-certificates');
  });
});
