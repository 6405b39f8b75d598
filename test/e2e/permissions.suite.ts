// SPDX-License-Identifier: Apache-2.0
// docs/permissions.md with the real service accounts: what each may do is tried over its own token.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { APPS, SYSTEM, type Installation } from './installation.ts';

type Call = readonly [method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string];

const own = `/api/v1/namespaces/${SYSTEM}`;
const apps = `/api/v1/namespaces/${APPS}`;
const jobs = `/apis/batch/v1/namespaces/${APPS}/jobs`;
const webhooks = '/apis/admissionregistration.k8s.io/v1';
const iapps = `/apis/penstock.dev/v1alpha1/namespaces/${APPS}/inferenceapps`;

/** Reads only, so that what is allowed changes nothing. */
const ALLOWED: Readonly<Record<string, readonly Call[]>> = {
  'penstock-operator': [
    ['GET', '/apis/penstock.dev/v1alpha1/inferenceapps'],
    ['GET', '/apis/penstock.dev/v1alpha1/placements'],
    ['GET', '/apis/batch/v1/jobs'],
    ['GET', '/api/v1/pods'],
    ['GET', `${own}/secrets/penstock-issuer-keys`],
    ['GET', `${own}/configmaps/penstock-issuer`],
  ],
  'penstock-gateway': [
    ['GET', '/apis/penstock.dev/v1alpha1/inferenceapps'],
    ['GET', `${own}/configmaps/penstock-issuer`],
    ['GET', `${own}/configmaps?fieldSelector=metadata.name%3Dpenstock-issuer`],
  ],
  'penstock-webhook': [
    ['GET', '/api/v1/nodes'],
    ['GET', '/api/v1/pods'],
    ['GET', '/api/v1/namespaces'],
    ['GET', '/apis/penstock.dev/v1alpha1/placements'],
    ['GET', `${own}/secrets/penstock-webhook-tls`],
    ['GET', `${own}/configmaps?fieldSelector=metadata.name%3Dpenstock-slicing`],
    ['GET', `${webhooks}/mutatingwebhookconfigurations/penstock-pods`],
  ],
};

const FORBIDDEN: Readonly<Record<string, readonly Call[]>> = {
  'penstock-operator': [
    ['DELETE', `${apps}/pods/anything`],
    ['DELETE', `${apps}/pods`],
    ['POST', `${apps}/pods`],
    ['POST', `${apps}/pods/anything/eviction`],
    ['POST', `${apps}/pods/anything/exec`],
    ['GET', `${apps}/pods/anything/log`],
    ['DELETE', jobs],
    ['PUT', `${jobs}/anything`],
    ['GET', '/api/v1/secrets'],
    ['GET', `${apps}/secrets`],
    ['GET', `${apps}/secrets/anything`],
    ['GET', `${own}/secrets/penstock-gateway`],
    ['PUT', `${apps}/secrets/anything`],
    ['GET', '/api/v1/configmaps'],
    ['POST', iapps],
    ['PUT', `${iapps}/word-count`],
    ['DELETE', `${iapps}/word-count`],
    ['DELETE', '/apis/penstock.dev/v1alpha1/placements/default'],
    ['PATCH', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions/inferenceapps.penstock.dev'],
    ['GET', '/api/v1/nodes'],
    ['POST', `${apps}/serviceaccounts/default/token`],
    ['POST', '/apis/rbac.authorization.k8s.io/v1/clusterrolebindings'],
  ],
  'penstock-gateway': [
    ['GET', '/apis/batch/v1/jobs'],
    ['GET', jobs],
    ['POST', jobs],
    ['DELETE', `${jobs}/anything`],
    ['GET', '/api/v1/pods'],
    ['GET', `${own}/pods`],
    ['POST', `${apps}/pods`],
    ['DELETE', `${apps}/pods/anything`],
    ['POST', `${apps}/pods/anything/exec`],
    ['GET', '/api/v1/secrets'],
    ['GET', `${apps}/secrets`],
    ['GET', `${apps}/secrets/anything`],
    ['GET', `${own}/secrets/penstock-issuer-keys`],
    ['GET', `${own}/configmaps`],
    ['GET', `${own}/configmaps/kube-root-ca.crt`],
    ['PUT', `${own}/configmaps/penstock-issuer`],
    ['PATCH', `${iapps}/word-count`],
    ['PATCH', `${iapps}/word-count/status`],
    ['DELETE', `${iapps}/word-count`],
    ['GET', '/apis/penstock.dev/v1alpha1/placements'],
    ['GET', '/apis/coordination.k8s.io/v1/leases'],
  ],
  'penstock-webhook': [
    ['POST', `${apps}/pods`],
    ['PATCH', `${apps}/pods/anything`],
    ['DELETE', `${apps}/pods/anything`],
    ['POST', `${apps}/pods/anything/eviction`],
    ['DELETE', `${jobs}/anything`],
    ['GET', '/api/v1/secrets'],
    ['GET', `${own}/secrets/penstock-gateway`],
    ['GET', `${apps}/configmaps/anything`],
    ['PATCH', '/api/v1/nodes/penstock-node'],
    ['PATCH', '/api/v1/namespaces/default'],
    ['PATCH', '/apis/penstock.dev/v1alpha1/placements/default'],
    ['POST', `${webhooks}/mutatingwebhookconfigurations`],
    ['PATCH', `${webhooks}/mutatingwebhookconfigurations/anything`],
    ['DELETE', `${webhooks}/mutatingwebhookconfigurations/penstock-pods`],
  ],
};

export function permissionsSuite(penstock: () => Installation): void {
  describe.each(Object.keys(FORBIDDEN))('the account of %s', (account) => {
    test('may read what it works with', async () => {
      const api = await asAccount(penstock(), account);
      const calls = ALLOWED[account] ?? [];
      const said = await Promise.all(calls.map(async (call) => [...call, await api(...call)]));
      expect(said).toEqual(calls.map((call) => [...call, 200]));
    });

    test('is forbidden everything else', async () => {
      const api = await asAccount(penstock(), account);
      const calls = FORBIDDEN[account] ?? [];
      const said = await Promise.all(calls.map(async (call) => [...call, await api(...call)]));
      expect(said).toEqual(calls.map((call) => [...call, 403]));
    });
  });

  test('the webhook may try whether a Job would be accepted, and create none', async () => {
    const { cluster } = penstock();
    const account = `--as=system:serviceaccount:${SYSTEM}:penstock-webhook`;
    const job = ['-n', APPS, 'create', 'job', 'tried', '--image=penstock/worker:dev', account];
    expect(await cluster.kube(...job, '--dry-run=server')).toMatch(/^job.batch\/tried created \(server dry run\)/);
    await expect(cluster.kube(...job)).rejects.toThrow(/penstock-webhook may only try whether a Job would be accepted/);
  });

  test.each([SYSTEM, APPS])('PodSecurity restricted is enforced in %s', async (namespace) => {
    const { cluster } = penstock();
    const overrides = {
      spec: { hostPID: true, containers: [{ name: 'x', image: 'x', securityContext: { privileged: true } }] },
    };
    const args = ['run', 'x', '--image=x', `--overrides=${JSON.stringify(overrides)}`, '--dry-run=server'];
    const command = promisify(execFile)(cluster.kubectl, [
      '--kubeconfig',
      cluster.kubeconfig,
      '-n',
      namespace,
      ...args,
    ]);
    await expect(command).rejects.toThrow(/violates PodSecurity "restricted/);
  });
}

/** Status codes of the API server for calls with a token of the account. Permission is looked at before the body or the object is. */
async function asAccount({ cluster }: Installation, account: string): Promise<(...call: Call) => Promise<number>> {
  const token = (await cluster.kube('-n', SYSTEM, 'create', 'token', account)).trim();
  const server = await cluster.kube('config', 'view', '-o', 'jsonpath={.clusters[0].cluster.server}');
  const ca = readFileSync(join(cluster.state, 'pki/ca.crt'));
  return (method, path) =>
    new Promise((resolve, reject) => {
      const type = method === 'PATCH' ? 'application/merge-patch+json' : 'application/json';
      const headers = { authorization: `Bearer ${token}`, 'content-type': type };
      const call = request(`${server}${path}`, { method, ca, headers }, (response) => {
        response.resume().once('end', () => resolve(response.statusCode ?? 0));
      });
      call.once('error', reject).end(method === 'GET' || method === 'DELETE' ? undefined : '{}');
    });
}
