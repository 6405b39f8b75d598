// SPDX-License-Identifier: Apache-2.0
import { Redis } from 'ioredis';
import { setTimeout as delay } from 'node:timers/promises';
import { startGateway } from './gateway-server.ts';
import type { GatewayServer } from './gateway-server.ts';
import { HttpConnection, requestBytes } from './http-connection.ts';

const UNITS = 20;
const SETTLE_MS = 3_000;
const WINDOW_MS = 30_000;
/** As a unit's loop asks. */
const LEASE = JSON.stringify({ max: 8, wait_seconds: 25 });

export interface IdleCalls {
  readonly units: number;
  /** Calls that reach Redis from outside, each second and waiting unit: what its scripts call inside is not counted again. */
  readonly perUnit: number;
  /** The same with every command that a script runs. */
  readonly commandsPerUnit: number;
}

/** What a waiting unit costs Redis when nothing happens, the gateway's own sweeps and pings included. */
export async function measureIdleCalls(redisUrl: string, folder: string): Promise<IdleCalls> {
  const gateway = await startGateway(redisUrl, folder);
  const redis = new Redis(redisUrl);
  const stop = new AbortController();
  const units = Array.from({ length: UNITS }, (_, i) => waitForWork(gateway, i, stop.signal));
  try {
    await Promise.race([delay(SETTLE_MS), ...units]);
    const before = await commandCalls(redis);
    const began = performance.now();
    await Promise.race([delay(WINDOW_MS), ...units]);
    const after = await commandCalls(redis);
    const seconds = (performance.now() - began) / 1000;
    const each = (count: number): number => count / seconds / UNITS;
    return {
      units: UNITS,
      perUnit: each(fromOutside(after) - fromOutside(before)),
      commandsPerUnit: each(total(after) - total(before)),
    };
  } finally {
    stop.abort();
    redis.disconnect();
    await gateway.stop();
    await Promise.allSettled(units);
  }
}

/** One unit: leases again as soon as a call has ended, as the worker's loop does. */
async function waitForWork(gateway: GatewayServer, index: number, stop: AbortSignal): Promise<void> {
  const connection = await HttpConnection.open(Number(new URL(gateway.internalUrl).port));
  stop.addEventListener('abort', () => connection.close(), { once: true });
  const call = async (path: string, token: string, body: string): Promise<unknown> => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const answer = await connection.exchange(
      requestBytes({ method: 'POST', path: `/internal/v1/${path}`, headers, body }),
    );
    if (answer.status !== 200) throw new Error(`${path}: ${answer.describe()}`);
    return JSON.parse(answer.text());
  };
  const { token } = (await call('token', await gateway.mintUnitToken(`idle-${index}`), '{}')) as { token: string };
  while (!stop.aborted) await call('lease', token, LEASE);
}

/** INFO commandstats: how often each command has run, also within scripts. The INFO itself comes twice a window. */
async function commandCalls(redis: Redis): Promise<ReadonlyMap<string, number>> {
  const text = await redis.info('commandstats');
  const calls = [...text.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm)].map(
    ([, name = '', count]) => [name, Number(count)] as const,
  );
  return new Map(calls.filter(([name]) => name !== 'info'));
}

function total(calls: ReadonlyMap<string, number>): number {
  return [...calls.values()].reduce((sum, count) => sum + count, 0);
}

/** All that the gateway does with Redis at rest goes by scripts, pings and these. */
function fromOutside(calls: ReadonlyMap<string, number>): number {
  return ['evalsha', 'eval', 'ping', 'smembers', 'config|get'].reduce((sum, name) => sum + (calls.get(name) ?? 0), 0);
}
