// SPDX-License-Identifier: Apache-2.0
// Only API servers are let in, as docs/operations.md says how: each has a certificate for the webhook's Service.
import '#webhook/certs/reflect.ts';
import { KeyObject, webcrypto } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { X509CertificateGenerator } from '@peculiar/x509';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PLACEMENTS } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { until } from '../until.ts';
import { webhookCluster } from './webhook.harness.ts';
import type { WebhookCluster, WebhookProcess } from './webhook.harness.ts';

const folder = mkdtempSync(join(tmpdir(), 'penstock-client-'));
const certificate = join(folder, 'client.crt');
let cluster: WebhookCluster;
let webhook: WebhookProcess;

/** The flag's file, and all that it names. */
async function admissionConfiguration(port: number): Promise<string> {
  const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
  const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' };
  const made = await X509CertificateGenerator.createSelfSigned({ name: 'CN=api-server', keys, signingAlgorithm });
  const key = join(folder, 'client.key');
  writeFileSync(certificate, made.toString('pem'));
  writeFileSync(key, KeyObject.from(keys.privateKey).export({ type: 'pkcs8', format: 'pem' }));
  // With the port, since it is not 443 here.
  const name = `penstock-webhook.penstock-system.svc:${port}`;
  const users = [{ name, user: { 'client-certificate': certificate, 'client-key': key } }];
  const kubeConfigFile = join(folder, 'webhooks.kubeconfig');
  writeFileSync(kubeConfigFile, JSON.stringify({ apiVersion: 'v1', kind: 'Config', users }));
  const apiVersion = 'apiserver.config.k8s.io/v1';
  const configuration = { apiVersion, kind: 'WebhookAdmissionConfiguration', kubeConfigFile };
  const webhooks = ['MutatingAdmissionWebhook', 'ValidatingAdmissionWebhook'];
  const plugins = webhooks.map((plugin) => ({ name: plugin, configuration }));
  const file = join(folder, 'admission.json');
  writeFileSync(file, JSON.stringify({ apiVersion, kind: 'AdmissionConfiguration', plugins }));
  return file;
}

beforeAll(async () => {
  cluster = await webhookCluster(async (port) => [
    `--admission-control-config-file=${await admissionConfiguration(port)}`,
  ]);
  webhook = await cluster.replica({ PENSTOCK_CLIENT_CA: certificate });
  cluster.proxy.point(webhook.port);
});
afterAll(async () => {
  await cluster.stop();
  rmSync(folder, { recursive: true, force: true });
});

it('an API server with a certificate is answered, and nobody without one', async () => {
  let made = 0;
  const spec = { kubernetes: {}, allowedNamespaces: ['*'] };
  const create = (): Promise<KubeObject> =>
    cluster.admin.client.create(PLACEMENTS, { metadata: { name: `place-${++made}` }, spec } as KubeObject);
  // The API server reads the caBundle by a watch of its own; until then it refuses.
  await until(() => create().catch(() => undefined), { what: 'an API server that is answered' });
  expect(
    (await webhook.metric('penstock_webhook_requests_total'))[
      'webhook="placements",result="allowed",namespace="other"'
    ],
  ).toBe(1);
  const stranger = connect({ port: webhook.port, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] });
  const [refusal] = (await once(stranger, 'error', { signal: AbortSignal.timeout(5_000) }).catch((err: unknown) => [
    err,
  ])) as [{ code?: string }];
  expect(refusal.code).toMatch(/CERTIFICATE_REQUIRED|ECONNRESET/);
});
