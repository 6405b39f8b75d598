// SPDX-License-Identifier: Apache-2.0
// The webhook's certificates against a real API server that really calls: two replicas, each behind one of the two configurations, so that
// every ConfigMap created in a labelled namespace needs a TLS handshake with both. The replicas have the account that config/rbac gives.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { text } from 'node:stream/consumers';
import { OBJECTS } from '#crds/names.ts';
import { closeServer, listen } from '#base/ops-server.ts';
import { createEventRecorder } from '#kube/events.ts';
import { SECRETS } from '#kube/resource.ts';
import type { Resource } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { mintAuthority, mintLeaf } from '#webhook/certs/authority.ts';
import { createServingCertificate } from '#webhook/certs/serving-certificate.ts';
import type { KeyPair, ServingCertificate } from '#webhook/certs/serving-certificate.ts';
import type { CertificateTimes } from '#webhook/certs/times.ts';
import type { ApiServer } from '../servers/apiserver.ts';
import { aFixture } from './kube-fixture.ts';
import type { Fixture } from './kube-fixture.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const NAMESPACE = OBJECTS.systemNamespace;
const SERVICE = 'penstock-webhook';
const SERVICES: Resource = { group: '', version: 'v1', kind: 'Service', plural: 'services', namespaced: true };
const configurations = (kind: string, plural: string): Resource => ({
  group: 'admissionregistration.k8s.io',
  version: 'v1',
  kind,
  plural,
  namespaced: false,
});
const MUTATING = configurations('MutatingWebhookConfiguration', 'mutatingwebhookconfigurations');
const VALIDATING = configurations('ValidatingWebhookConfiguration', 'validatingwebhookconfigurations');

export const CONFIGURATIONS = [
  { resource: MUTATING, name: OBJECTS.podsWebhook },
  { resource: VALIDATING, name: OBJECTS.objectsWebhook },
] as const;
export const SECRET_REF = { namespace: NAMESPACE, name: OBJECTS.webhookSecret };

export interface Secret extends KubeObject {
  readonly data?: Record<string, string>;
  readonly type?: string;
}

export interface Configuration extends KubeObject {
  readonly webhooks: readonly { readonly name: string; readonly clientConfig: { readonly caBundle?: string } }[];
}

/** One replica of the webhook: its certificate and a TLS server that allows everything. */
export interface Replica {
  readonly certificate: ServingCertificate;
  readonly port: number;
  /** Handshakes so far, by the serial number that was served. */
  readonly served: ReadonlyMap<string, number>;
  stop(): Promise<void>;
}

/** Namespace, account, Service and the kubeconfig of the account. */
export async function installAccount(api: ApiServer, folder: string): Promise<string> {
  await api.kube('create', 'namespace', NAMESPACE);
  await api.kube('apply', '-k', join(root, 'config/rbac'));
  const token = (await api.kube('create', 'token', SERVICE, '-n', NAMESPACE, '--duration=1h')).trim();
  const file = join(folder, 'webhook.kubeconfig');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster: { server: api.server, 'certificate-authority': api.caFile } }],
    users: [{ name: 'u', user: { token } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  writeFileSync(file, JSON.stringify(config));
  return file;
}

/** Both configurations as `kubectl apply` leaves them, without a caBundle; the API server resolves the Service to this machine. */
export async function installWebhooks(admin: Fixture, ports: readonly [number, number]): Promise<void> {
  const service = {
    metadata: { namespace: NAMESPACE, name: SERVICE },
    spec: { type: 'ExternalName', externalName: 'localhost' },
  };
  await admin.client.apply(SERVICES, service, { fieldManager: 'test' });
  for (const [index, { resource, name }] of CONFIGURATIONS.entries()) {
    const webhook = (which: string): object => ({
      name: `${which}.penstock.dev`,
      admissionReviewVersions: ['v1'],
      sideEffects: 'None',
      failurePolicy: 'Fail',
      timeoutSeconds: 5,
      clientConfig: { service: { namespace: NAMESPACE, name: SERVICE, port: ports[index], path: `/${which}` } },
      namespaceSelector: { matchLabels: { certs: 'watched' } },
      rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }],
    });
    const object = { metadata: { name }, webhooks: [webhook('one'), webhook('two')] };
    await admin.client.apply(resource, object, { fieldManager: 'test' });
  }
}

export async function startReplica(
  kubeconfig: string,
  name: string,
  times: Partial<CertificateTimes> = {},
  mode: 'self' | 'external' = 'self',
): Promise<Replica> {
  const fixture = aFixture(kubeconfig);
  const events = createEventRecorder({ ...fixture, controller: 'penstock.dev/webhook', instance: name });
  const certificate = createServingCertificate({
    ...fixture,
    mode,
    namespace: NAMESPACE,
    service: SERVICE,
    events,
    times,
  });
  const served = new Map<string, number>();
  const server = createServer(answer);
  let serial = 'none';
  const use = (pair: KeyPair): void => {
    server.setSecureContext(pair);
    serial = new X509Certificate(pair.cert).serialNumber;
  };
  server.on('secureConnection', () => served.set(serial, (served.get(serial) ?? 0) + 1));
  server.on('tlsClientError', () => {});
  certificate.onChange(use);
  const port = await listen(server, '127.0.0.1', 0);
  certificate.start();
  const stop = async (): Promise<void> => {
    await certificate.stop();
    await closeServer(server);
    await events.stop();
    await fixture.client.close();
  };
  return { certificate, port, served, stop };
}

/** Each call is a connection of its own, so that each one sees the certificate of that moment. */
function answer(request: IncomingMessage, response: ServerResponse): void {
  void text(request).then((body) => {
    const review = JSON.parse(body) as { request: { uid: string } };
    const verdict = {
      apiVersion: 'admission.k8s.io/v1',
      kind: 'AdmissionReview',
      response: { uid: review.request.uid, allowed: true },
    };
    response.writeHead(200, { 'content-type': 'application/json', connection: 'close' }).end(JSON.stringify(verdict));
  });
}

/** What the Secret says, as another program would read it. */
export function contentOf(secret: Secret): { leaf: X509Certificate; authorities: X509Certificate[]; keyFits: boolean } {
  const part = (key: string): string => Buffer.from(secret.data?.[key] ?? '', 'base64').toString();
  const leaf = new X509Certificate(part('tls.crt'));
  return {
    leaf,
    authorities: part('ca.crt')
      .split(/(?=-----BEGIN)/)
      .map((pem) => new X509Certificate(pem)),
    keyFits: leaf.checkPrivateKey(createPrivateKey(part('tls.key'))),
  };
}

export async function readSecret(admin: Fixture): Promise<Secret> {
  return admin.client.get<Secret>(SECRETS, SECRET_REF);
}

/** Data of a Secret as cert-manager writes it: a CA, and a certificate by it. */
export async function mintedSecret(): Promise<Record<string, string>> {
  const hour = 3_600_000;
  const authority = await mintAuthority(Date.now(), hour);
  const leaf = await mintLeaf(authority, [`${SERVICE}.${NAMESPACE}.svc`], Date.now(), hour);
  const parts = {
    'ca.crt': authority.certificate.toString(),
    'tls.crt': leaf.certificate.toString(),
    'tls.key': leaf.key,
  };
  return Object.fromEntries(Object.entries(parts).map(([key, pem]) => [key, Buffer.from(pem).toString('base64')]));
}

/** caBundle of all four webhooks, decoded. */
export async function readBundles(admin: Fixture): Promise<string[]> {
  const found = await Promise.all(
    CONFIGURATIONS.map(({ resource, name }) => admin.client.get<Configuration>(resource, { name })),
  );
  const bundles = found.flatMap(({ webhooks }) => webhooks.map(({ clientConfig }) => clientConfig.caBundle ?? ''));
  return bundles.map((bundle) => Buffer.from(bundle, 'base64').toString());
}

/** The Secret is whole and every webhook trusts exactly its CAs. */
export async function isSettled(admin: Fixture): Promise<boolean> {
  const secret = await readSecret(admin);
  const { keyFits } = contentOf(secret);
  const wanted = Buffer.from(secret.data?.['ca.crt'] ?? '', 'base64').toString();
  return keyFits && (await readBundles(admin)).every((bundle) => bundle === wanted);
}
