// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inject } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { createSigner, generateIssuerKey, publicJwks } from '#base/issuer.ts';
import { until } from '#test/until.ts';
import { connectUnit, unitToken } from './gateway.harness.ts';
import type { TestUnit } from './gateway.harness.ts';
import { gatewayProcess } from './gateway.process.ts';
import type { GatewayProcess } from './gateway.process.ts';

/** Replicas of one gateway as processes: one Redis, one bucket, one secret, one operator, the same app. */
export interface FleetProcesses {
  readonly gateways: readonly GatewayProcess[];
  /** Uid and revision, as tokens of its units say them. */
  readonly app: { readonly app: string; readonly revision: string };
  readonly operator: GatewayProcess['operator'];
  /** A worker that talks to one replica. */
  unit(name: string, gateway: GatewayProcess): Promise<TestUnit>;
  unitToken(name: string): Promise<string>;
  readonly remove: () => Promise<void>;
}

/** Starts a replica for each URL; all lead to one Redis, some perhaps over a proxy. */
export async function startFleet(
  redisUrls: readonly string[],
  settings: Readonly<Record<string, string>> = {},
): Promise<FleetProcesses> {
  const { s3 } = inject('servers');
  const dir = mkdtempSync(join(tmpdir(), 'penstock-fleet-'));
  const name = `fleet-${randomBytes(6).toString('hex')}`;
  const operatorKey = await generateIssuerKey();
  const operator = await createSigner(operatorKey, systemClock);
  writeFileSync(join(dir, 'secret'), randomBytes(32).toString('hex'));
  writeFileSync(join(dir, 'jwks.json'), JSON.stringify(publicJwks([operatorKey])));
  const common = {
    PENSTOCK_SECRET_FILE: join(dir, 'secret'),
    PENSTOCK_ISSUER_FILE: join(dir, 'jwks.json'),
    PENSTOCK_QUEUE: 'redis',
    PENSTOCK_REDIS_PREFIX: name,
    PENSTOCK_STORE: 's3',
    PENSTOCK_S3_ENDPOINT: s3.endpoint,
    PENSTOCK_S3_REGION: s3.region,
    PENSTOCK_S3_BUCKET: s3.bucket,
    PENSTOCK_S3_ACCESS_KEY_ID: s3.accessKeyId,
    PENSTOCK_S3_SECRET_ACCESS_KEY: s3.secretAccessKey,
    PENSTOCK_S3_PREFIX: `${name}/`,
    ...settings,
  };
  const gateways: GatewayProcess[] = [];
  const remove = async (): Promise<void> => {
    for (const gateway of gateways) await gateway.remove();
    rmSync(dir, { recursive: true, force: true });
  };
  try {
    for (const url of redisUrls) gateways.push(await gatewayProcess({ ...common, PENSTOCK_REDIS_URL: url }));
    const [first, ...others] = gateways;
    await first?.start();
    // Files have no API server to give an app its uid: the first replica's ledger says it to the others.
    for (const other of others) copyLedger(first, other);
    await Promise.all(others.map((other) => other.start()));
    const app = await appOf(gateways[0], operator);
    return {
      gateways,
      app,
      operator,
      unit: (unit, { internal }) => connectUnit(internal, operator, unit, app),
      unitToken: (unit) => unitToken(operator, unit, app),
      remove,
    };
  } catch (err) {
    await remove();
    throw err;
  }
}

function copyLedger(from: GatewayProcess | undefined, to: GatewayProcess): void {
  if (from === undefined) return;
  mkdirSync(join(to.dir, 'data'), { recursive: true });
  copyFileSync(join(from.dir, 'data/apps.json'), join(to.dir, 'data/apps.json'));
}

async function appOf(gateway: GatewayProcess | undefined, operator: GatewayProcess['operator']) {
  const [app] = (await gateway?.demand(operator))?.apps ?? [];
  if (app === undefined) throw new Error('the gateway serves no app');
  return { app: app.uid, revision: app.revision };
}

/** One of its metrics, by name and labels. */
export async function metricOf(gateway: GatewayProcess, name: string, labels = ''): Promise<number> {
  const text = await (await fetch(`${gateway.ops}/metrics`)).text();
  const line = text.split('\n').find((one) => one.startsWith(`${name}{${labels}`));
  return Number(line?.split(' ').at(-1) ?? Number.NaN);
}

export async function untilMetric(gateway: GatewayProcess, name: string, value: number): Promise<void> {
  const look = async (): Promise<boolean> => (await metricOf(gateway, name)) === value;
  await until(look, { what: `${name} ${value}`, timeoutMs: 20_000 });
}
