// SPDX-License-Identifier: Apache-2.0
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { Clock } from '#base/clock.ts';
import { systemClock } from '#base/clock.ts';
import type { PrivateJwk } from '#base/issuer.ts';
import type { S3Address } from '#test/servers/minio.ts';
import { testApp } from '#test/integration/gateway.harness.ts';
import { APP_UID } from '../fleet.ts';

/** Real: a process that is stopped for longer has lost what it held. */
export const LEASE_SECONDS = 2;
export const RETRY = { maxAttempts: 2, maxLosses: 3 } as const;
const RETENTION_SECONDS = 7_200;

/** What a child reads at its start: one JSON file. */
export interface GatewaySettings {
  readonly master: string;
  readonly operatorKey: PrivateJwk;
  /** Through a network that may fail. */
  readonly redisUrl: string;
  readonly redisPrefix: string;
  readonly s3: S3Address & { readonly prefix: string };
  /** How wrong its clock is, against the store, the queue and the others. */
  readonly clockOffsetMs: number;
  readonly historyFile: string;
  /** Where it says on which ports it listens. */
  readonly portsFile: string;
}

export interface UnitProcessSettings {
  readonly name: string;
  readonly port: number;
  readonly unitTokenFile: string;
  readonly concurrency: number;
  readonly batchSize: number;
  readonly clockOffsetMs: number;
}

/** The app of every schedule, as gateways and harness know it. */
export function chaosApp(): ReturnType<typeof testApp> {
  const app = testApp({ uid: APP_UID });
  const request = { ...app.spec.request, timeoutSeconds: 120, resultRetentionSeconds: RETENTION_SECONDS, retry: RETRY };
  return { ...app, spec: { ...app.spec, request } };
}

/** A machine whose clock is wrong; durations are right. */
export function skewedClock(offsetMs: number): Clock {
  return {
    now: () => systemClock.now() + offsetMs,
    monotonic: () => systemClock.monotonic(),
    sleep: (ms, signal) => systemClock.sleep(ms, signal),
  };
}

/** What `writeWhole` wrote. */
export function readSettings(file: string | undefined): unknown {
  if (file === undefined) throw new Error('the first argument is a file with settings');
  return JSON.parse(readFileSync(file, 'utf8'));
}

/** Whole or not at all: whoever reads it meanwhile never sees half of it. */
export function writeWhole(file: string, content: unknown): void {
  writeFileSync(`${file}.new`, JSON.stringify(content));
  renameSync(`${file}.new`, file);
}
