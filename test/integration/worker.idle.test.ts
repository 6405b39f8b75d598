// SPDX-License-Identifier: Apache-2.0
// What units cost that wait for work: a lease call hangs in the gateway, and nobody polls.
import { Redis } from 'ioredis';
import { afterEach, expect, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { startRedis } from '#test/servers/redis.ts';
import { submit, untilWaiting } from './gateway.client.ts';
import { bodyOf, startStack, testApp } from './gateway.harness.ts';
import type { Stack, TestUnit } from './gateway.harness.ts';

const cleanUp: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).toReversed()) await step();
});

const UNITS = 10;
/** A unit's own waits are of 25 s: shorter ones make the test short, and cost more calls, not fewer. */
const WAIT_SECONDS = 10;
const WINDOW_MS = 20_000;
/** Goal: calls of Redis a second and waiting unit, the gateway's own sweeps and pings included. */
const MOST_CALLS = 0.3;

/** A gateway on a Redis that nobody else talks to. */
async function start(): Promise<{ stack: Stack; redis: Redis }> {
  const server = await startRedis();
  cleanUp.push(() => server.stop());
  const queue = await openRedisQueue({ url: server.url, clock: systemClock, logger: silentLogger });
  const stack = await startStack({ queue, apps: [testApp({ minUnits: UNITS })] });
  cleanUp.push(async () => {
    await stack.close();
    await queue.close();
  });
  const redis = new Redis(server.url);
  cleanUp.push(async () => redis.disconnect());
  return { stack, redis };
}

/** Asks again whenever a call has ended, as a unit does; answers when it is given something. */
async function waitForWork(unit: TestUnit, stop: AbortSignal): Promise<string | undefined> {
  while (!stop.aborted) {
    const [lease] = (await unit.lease(1, WAIT_SECONDS)).leases;
    if (lease !== undefined) return (await bodyOf(lease)).toString();
  }
  return undefined;
}

/** Calls by name that come from outside, in so many ms: MONITOR tells those that a script makes as `lua`. */
async function callsWithin(redis: Redis, ms: number): Promise<ReadonlyMap<string, number>> {
  const monitor = await redis.monitor();
  const calls = new Map<string, number>();
  monitor.on('monitor', (_time: string, [name = '']: string[], source: string) => {
    if (source !== 'lua') calls.set(name, (calls.get(name) ?? 0) + 1);
  });
  await new Promise((resolve) => setTimeout(resolve, ms));
  monitor.disconnect();
  return calls;
}

test('ten units that wait cost Redis less than 0.3 calls a second each, and are there at once when work comes', async () => {
  const { stack, redis } = await start();
  const stop = new AbortController();
  const units = await Promise.all(Array.from({ length: UNITS }, (_, i) => stack.unit(`echo-${i}`)));
  const waiting = units.map((unit) => waitForWork(unit, stop.signal));
  await untilWaiting(stack, 'units', UNITS);
  const calls = await callsWithin(redis, WINDOW_MS);
  const perUnit = [...calls.values()].reduce((sum, count) => sum + count, 0) / UNITS / (WINDOW_MS / 1000);
  expect(perUnit, `calls: ${JSON.stringify([...calls])}`).toBeLessThanOrEqual(MOST_CALLS);
  // It was not for want of asking that they cost little: they do wait, all of them.
  await Promise.all(Array.from({ length: UNITS }, (_, i) => submit(stack, `r${i}`)));
  const given = await Promise.all(waiting);
  expect(new Set(given)).toEqual(new Set(Array.from({ length: UNITS }, (_, i) => `r${i}`)));
  stop.abort();
}, 120_000);
