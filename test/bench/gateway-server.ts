// SPDX-License-Identifier: Apache-2.0
import { hash, randomBytes } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '#base/clock.ts';
import { createSigner, generateIssuerKey, publicJwks } from '#base/issuer.ts';
import { INTERNAL_AUDIENCE, OPERATOR_ISSUER, OPERATOR_SUBJECT, UNIT_AUDIENCE } from '#base/wire/claims.ts';
import type { DemandReply } from '#base/wire/demand.ts';
import { freePort } from '#test/servers/free-port.ts';
import { startProgram } from './child.ts';
import type { BenchChild } from './child.ts';

/** `open`: for this machine only, without keys; `guarded`: API keys, a rate for the tenant, and a schema that each body is checked against. */
export type GatewayKind = 'open' | 'guarded';

/** The product's gateway process over Redis, serving one app to one tenant, its access log on. */
export interface GatewayServer extends BenchChild {
  readonly clientPort: number;
  readonly internalUrl: string;
  readonly inferPath: string;
  /** Credential and content type of a request. */
  readonly headers: Readonly<Record<string, string>>;
  /** A unit token of the app. */
  readonly mintUnitToken: (unit: string) => Promise<string>;
}

const APP = 'noop';
const TOKEN_SECONDS = 3600;
const SPEC = {
  worker: { archetype: 'Handler', handler: 'noop.ts' },
  scaling: { maxUnits: 1, concurrency: 8, idleLinger: { policy: 'Fixed', seconds: 600 } },
};
const REQUEST = {
  schema: {
    type: 'object',
    required: ['prompt'],
    additionalProperties: false,
    properties: { prompt: { type: 'string', minLength: 1 }, max_tokens: { type: 'integer', minimum: 1 } },
  },
};
/** More than is ever reached: to count costs the same. */
const RATE = { perSecond: 100_000, burst: 100_000 };

export async function startGateway(
  redisUrl: string,
  folder: string,
  kind: GatewayKind = 'guarded',
): Promise<GatewayServer> {
  const apiKey = randomBytes(16).toString('hex');
  const operatorKey = await generateIssuerKey();
  const operator = await createSigner(operatorKey, systemClock);
  const [clientPort, internalPort, opsPort] = [await freePort(), await freePort(), await freePort()];
  const keyHash = hash('sha256', apiKey);
  const files = {
    // JSON is YAML.
    'apps/noop.yaml': JSON.stringify({
      apiVersion: 'penstock.dev/v1alpha1',
      kind: 'InferenceApp',
      metadata: { name: APP, namespace: 'default' },
      spec: kind === 'guarded' ? { ...SPEC, request: REQUEST } : SPEC,
    }),
    'tenants.yaml': JSON.stringify({
      tenants: [{ name: 'bench', namespace: 'default', requestRate: RATE, apiKeys: [{ sha256: keyHash }] }],
    }),
    'jwks.json': JSON.stringify(publicJwks([operatorKey])),
  };
  mkdirSync(join(folder, 'apps'));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  const child = await startProgram({
    main: 'gateway/main.ts',
    cwd: folder,
    env: {
      PENSTOCK_CLIENT_PORT: String(clientPort),
      PENSTOCK_INTERNAL_PORT: String(internalPort),
      PENSTOCK_OPS_PORT: String(opsPort),
      PENSTOCK_QUEUE: 'redis',
      PENSTOCK_REDIS_URL: redisUrl,
      PENSTOCK_DURABILITY: 'required',
      PENSTOCK_APPS: 'files',
      PENSTOCK_ISSUER: 'file',
      ...(kind === 'guarded' ? { PENSTOCK_TENANTS_FILE: 'tenants.yaml' } : {}),
    },
    ready: async () => (await fetch(`http://127.0.0.1:${opsPort}/readyz`)).ok,
  });
  const internalUrl = `http://127.0.0.1:${internalPort}`;
  const claims = { iss: OPERATOR_ISSUER, aud: INTERNAL_AUDIENCE, sub: OPERATOR_SUBJECT };
  const { uid, revision } = await onlyApp(internalUrl, await operator.sign(claims, TOKEN_SECONDS));
  const unit = { iss: OPERATOR_ISSUER, aud: UNIT_AUDIENCE, app_uid: uid, revision, namespace: 'default', app: APP };
  return {
    ...child,
    clientPort,
    internalUrl,
    inferPath: `/v1/${APP}/infer`,
    headers: {
      'content-type': 'application/json',
      ...(kind === 'guarded' ? { authorization: `Bearer ${apiKey}` } : {}),
    },
    mintUnitToken: (sub) => operator.sign({ ...unit, sub, placement: 'local' }, TOKEN_SECONDS),
  };
}

async function onlyApp(internalUrl: string, token: string): Promise<{ uid: string; revision: string }> {
  const answer = await fetch(`${internalUrl}/internal/v1/demand`, { headers: { authorization: `Bearer ${token}` } });
  if (!answer.ok) throw new Error(`demand: ${answer.status} ${await answer.text()}`);
  const [app] = ((await answer.json()) as DemandReply).apps;
  if (!app) throw new Error('the gateway serves no app');
  return app;
}
