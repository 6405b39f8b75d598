// SPDX-License-Identifier: Apache-2.0
import { hash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { createServiceAccounts, TOKEN_AUDIENCE } from '#gateway/auth/service-accounts.ts';
import { withServiceAccounts } from '#gateway/auth/tenants-and-accounts.ts';
import { parseTenants } from '#gateway/auth/tenants.ts';
import type { TenantSource } from '#gateway/auth/tenants.ts';
import { reviewToken } from '#kube/token-review.ts';
import { freePort } from '#test/servers/free-port.ts';
import { post, problem, status, submit } from './gateway.client.ts';
import { startStack, testApp } from './gateway.harness.ts';
import type { Stack } from './gateway.harness.ts';
import { gatewayProcess } from './gateway.process.ts';
import { SERVICE_ACCOUNTS, aFixture, aNamespace } from './kube-fixture.ts';
import type { Fixture } from './kube-fixture.ts';

const REVIEW_MS = 30_000;

let kubeconfig: string;
let kube: Fixture;
let team: string;
let other: string;
let stack: Stack;

beforeAll(async () => {
  ({ kubeconfig } = inject('servers').kube ?? { kubeconfig: '' });
  kube = aFixture(kubeconfig);
  [team, other] = [await aNamespace(kube.client, 'team'), await aNamespace(kube.client, 'other')];
  for (const name of ['app', 'ops'])
    await kube.client.create(SERVICE_ACCOUNTS, { metadata: { namespace: team, name } });
  await kube.client.create(SERVICE_ACCOUNTS, { metadata: { namespace: other, name: 'app' } });
  stack = await startStack({
    apps: [testApp({ namespace: team }), testApp({ uid: 'uid-shared', namespace: 'shared' })],
    tenants: reviewed(kube, [
      { name: 'ops', namespace: 'shared', serviceAccounts: [{ namespace: team, name: 'ops' }] },
    ]),
  });
});
afterAll(async () => {
  await stack.close();
  await kube.client.close();
});

/** Tenants whose tokens are reviewed by the API server that `by` speaks to. */
function reviewed(by: Fixture, tenants: object[]): TenantSource {
  const review = (token: string) => reviewToken(by.client, token, [TOKEN_AUDIENCE], { deadlineMs: REVIEW_MS });
  const registry = createRegistry('test', false);
  const accounts = createServiceAccounts({ review, clock: systemClock, logger: silentLogger, registry });
  return withServiceAccounts(parseTenants({ tenants }), accounts);
}

async function tokenOf(
  namespace: string,
  name: string,
  audiences: readonly string[] = [TOKEN_AUDIENCE],
): Promise<string> {
  const answer = await kube.client.call({
    method: 'POST',
    path: `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`,
    body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { audiences, expirationSeconds: 600 } },
  });
  return (answer as { status: { token: string } }).status.token;
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

test('a pod needs no key: its token makes it the tenant of its namespace', async () => {
  const headers = bearer(await tokenOf(team, 'app'));
  const ticket = await submit(stack, 'from a pod', headers);
  expect((await status(stack, ticket, headers)).status).toBe(202);
  const [record] = (await stack.queue.live('uid-echo', 10)).records;
  expect(record?.tenant).toBe(team);
});

test('a ServiceAccount that a tenant names is that tenant’s, whatever its namespace', async () => {
  const ops = bearer(await tokenOf(team, 'ops'));
  const app = bearer(await tokenOf(team, 'app'));
  const ticket = await submit(stack, 'by ops', ops);
  expect(await problem(await status(stack, ticket, app))).toEqual([404, 'ticket-unknown']);
  expect(await problem(await post(`${stack.url}/v1/${team}.echo/infer`, 'x', ops))).toEqual([404, 'app-unknown']);
});

test('another namespace’s token sees neither app nor ticket', async () => {
  const ticket = await submit(stack, 'mine', bearer(await tokenOf(team, 'app')));
  const stranger = bearer(await tokenOf(other, 'app'));
  expect(await problem(await status(stack, ticket, stranger, `${team}.echo`))).toEqual([404, 'app-unknown']);
});

test('refused with 401: a token for the API server, one with a wrong signature, and none at all', async () => {
  const forTheApi = await tokenOf(team, 'app', ['https://kubernetes.default.svc']);
  const good = await tokenOf(team, 'app');
  const [header, payload] = good.split('.');
  const forged = `${header}.${payload}.${'A'.repeat(342)}`;
  for (const headers of [bearer(forTheApi), bearer(forged), {}]) {
    expect(await problem(await post(`${stack.url}/v1/echo/infer`, 'x', headers))).toEqual([401, 'unauthenticated']);
  }
});

test('a token does not outlive its account where it is not known yet', async () => {
  const { client } = kube;
  await client.create(SERVICE_ACCOUNTS, { metadata: { namespace: team, name: 'gone' } });
  const token = await tokenOf(team, 'gone');
  await client.delete(SERVICE_ACCOUNTS, { namespace: team, name: 'gone' });
  expect(await problem(await post(`${stack.url}/v1/echo/infer`, 'x', bearer(token)))).toEqual([401, 'unauthenticated']);
});

test('an API server that is down is a 503 for tokens that are not known, and nothing to API keys', async () => {
  const away = aFixture(kubeconfig, `https://127.0.0.1:${await freePort()}`);
  const sha256 = hash('sha256', 'secret');
  const alone = await startStack({ tenants: reviewed(away, [{ name: 'default', apiKeys: [{ sha256 }] }]) });
  try {
    const answer = await post(`${alone.url}/v1/echo/infer`, 'x', bearer(await tokenOf(team, 'app')));
    expect(answer.headers.get('retry-after')).toBe('1');
    expect(await problem(answer)).toEqual([503, 'credential-unchecked']);
    await submit(alone, 'by key', { 'x-api-key': 'secret' });
  } finally {
    await alone.close();
    await away.client.close();
  }
});

test('the gateway’s own process takes tokens where it is told to, and then nobody without one, keys or not', async () => {
  const gateway = await gatewayProcess({ KUBECONFIG: kubeconfig, PENSTOCK_TOKEN_REVIEW: 'true' });
  try {
    await gateway.start();
    const name = `app-${randomBytes(4).toString('hex')}`;
    // Apps from files are in namespace default.
    await kube.client.create(SERVICE_ACCOUNTS, { metadata: { namespace: 'default', name } });
    const send = (headers: Record<string, string>) => post(`${gateway.url}/v1/echo/infer`, 'x', headers);
    expect((await send(bearer(await tokenOf('default', name)))).status).toBe(202);
    expect(await problem(await send(bearer(await tokenOf(team, 'app'))))).toEqual([404, 'app-unknown']);
    expect(await problem(await send({}))).toEqual([401, 'unauthenticated']);
    expect(await problem(await send({ 'x-api-key': 'anything' }))).toEqual([401, 'unauthenticated']);
    const metrics = await (await fetch(`${gateway.ops}/metrics`)).text();
    expect(metrics).toMatch(/penstock_gateway_token_reviews_total\{outcome="accepted"[^}]*\} 2\n/);
    expect(metrics).toMatch(/penstock_gateway_token_reviews_total\{outcome="failed"[^}]*\} 0\n/);
  } finally {
    await gateway.remove();
  }
});
