// SPDX-License-Identifier: Apache-2.0
// Three gateway processes on one Redis and one bucket: accepted by the first, leased through the second, awaited on the third.
import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, inject, test } from 'vitest';
import { until } from '#test/until.ts';
import { startDeafProxy } from './deaf-proxy.ts';
import type { DeafProxy } from './deaf-proxy.ts';
import { metricOf, startFleet, untilMetric } from './fleet.process.ts';
import type { FleetProcesses } from './fleet.process.ts';
import { post } from './gateway.client.ts';
import { bodyOf } from './gateway.harness.ts';
import type { GatewayProcess } from './gateway.process.ts';

/** Processes start within seconds; with both cores busy within tens. */
const TEST_MS = 120_000;
/** How often a wake-up is looked at. */
const ROUNDS = 3;
const WAKE_UPS = 'penstock_gateway_wake_ups_total';

const cleanUp: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).toReversed()) await step();
});

type Three = readonly [GatewayProcess, GatewayProcess, GatewayProcess];

async function three(urls: readonly string[]): Promise<FleetProcesses & { readonly all: Three }> {
  const fleet = await startFleet(urls);
  cleanUp.push(fleet.remove);
  return { ...fleet, all: fleet.gateways as unknown as Three };
}

async function accept(gateway: GatewayProcess, body: string | Uint8Array<ArrayBuffer>): Promise<string> {
  const answer = await post(`${gateway.url}/v1/echo/infer`, body);
  expect(answer.status).toBe(202);
  return ((await answer.json()) as { ticket: string }).ticket;
}

function awaited(gateway: GatewayProcess, ticket: string): Promise<Response> {
  return fetch(`${gateway.url}/v1/echo/status/${ticket}`, { headers: { prefer: 'wait=60' } });
}

interface WakeUps {
  readonly event: number;
  readonly recheck: number;
}

/** Waits that ended with what was waited for, by what ended them. */
async function wakeUps(gateway: GatewayProcess, waiter: 'client' | 'unit'): Promise<WakeUps> {
  const count = (by: string): Promise<number> => metricOf(gateway, WAKE_UPS, `waiter="${waiter}",by="${by}"`);
  return { event: await count('event'), recheck: await count('recheck') };
}

/**
 * All of them but one: the re-check that comes every five seconds may fall into the milliseconds between the change and its event, once
 * in a long while. Were the events lost, all of them would be the re-check's.
 */
function expectByEvent({ event, recheck }: WakeUps, count: number): void {
  expect(event + recheck).toBe(count);
  expect(recheck).toBeLessThanOrEqual(1);
}

describe('three gateways', () => {
  test(
    'one accepts, the second’s worker and the third’s client are woken at once, by the event',
    async () => {
      const { url } = inject('servers').redis;
      const fleet = await three([url, url, url]);
      const [first, second, third] = fleet.all;
      const worker = await fleet.unit('echo-1', second);
      for (let round = 1; round <= ROUNDS; round++) {
        const waiting = worker.one(30);
        await untilMetric(second, 'penstock_gateway_waiting_units', 1);
        // Every other body and result is too large for the record: the three meet in the bucket too.
        const body = round === 2 ? randomBytes(100_000) : Buffer.from(`round ${round}`);
        const ticket = await accept(first, body);
        const lease = await waiting;
        expect((await bodyOf(lease)).equals(body)).toBe(true);
        const answer = awaited(third, ticket);
        await untilMetric(third, 'penstock_gateway_waiting_clients', 1);
        const result = round === 2 ? 'x'.repeat(100_000) : `result ${round}`;
        expect(await worker.complete(lease, result)).toBe('committed');
        const response = await answer;
        expect([response.status, await response.text()]).toEqual([200, result]);
      }
      expectByEvent(await wakeUps(second, 'unit'), ROUNDS);
      expectByEvent(await wakeUps(third, 'client'), ROUNDS);
      // A client of the gateway that commits is told by the commit: the event is for the others.
      const waiting = worker.one(30);
      await untilMetric(second, 'penstock_gateway_waiting_units', 1);
      const ticket = await accept(first, 'at home');
      const lease = await waiting;
      const answer = awaited(second, ticket);
      await untilMetric(second, 'penstock_gateway_waiting_clients', 1);
      expect(await worker.complete(lease, 'told')).toBe('committed');
      const response = await answer;
      expect([response.status, response.headers.get('penstock-attempts'), await response.text()]).toEqual([
        200,
        '1',
        'told',
      ]);
      expect(await metricOf(second, WAKE_UPS, 'waiter="client",by="commit"')).toBe(1);
      expect(await wakeUps(second, 'client')).toEqual({ event: 0, recheck: 0 });
    },
    TEST_MS,
  );

  test(
    'whose messages get lost find what was accepted and what has ended by looking again',
    async () => {
      const { url, port } = inject('servers').redis;
      const proxies: DeafProxy[] = [await startDeafProxy(port), await startDeafProxy(port)];
      cleanUp.push(async () => {
        for (const proxy of proxies) await proxy.close();
      });
      const fleet = await three([url, ...proxies.map((proxy) => proxy.url)]);
      const [first, second, third] = fleet.all;
      const worker = await fleet.unit('echo-1', second);
      const waiting = worker.one(30);
      await untilMetric(second, 'penstock_gateway_waiting_units', 1);
      for (const proxy of proxies) proxy.deafen(true);
      const ticket = await accept(first, 'unheard');
      const answer = awaited(third, ticket);
      await untilMetric(third, 'penstock_gateway_waiting_clients', 1);
      const lease = await waiting;
      expect(await worker.complete(lease, 'found')).toBe('committed');
      const response = await answer;
      expect([response.status, await response.text()]).toEqual([200, 'found']);
      expect(proxies.map((proxy) => proxy.swallowed() > 0)).toEqual([true, true]);
      expect(await wakeUps(second, 'unit')).toEqual({ event: 0, recheck: 1 });
      expect(await wakeUps(third, 'client')).toEqual({ event: 0, recheck: 1 });
      // What is published from here on is heard again, on the same connections.
      for (const proxy of proxies) proxy.deafen(false);
      for (let round = 1; round <= ROUNDS; round++) {
        const next = worker.one(30);
        await untilMetric(second, 'penstock_gateway_waiting_units', 1);
        await accept(first, `heard ${round}`);
        expect(await worker.complete(await next, 'done')).toBe('committed');
      }
      const { event, recheck } = await wakeUps(second, 'unit');
      expectByEvent({ event, recheck: recheck - 1 }, ROUNDS);
    },
    TEST_MS,
  );

  test(
    'go on when two of them are killed: what the first accepted and leased ends at the third',
    async () => {
      const { url } = inject('servers').redis;
      const fleet = await three([url, url, url]);
      const [first, second, third] = fleet.all;
      const early = await fleet.unit('echo-1', first);
      const ticket = await accept(first, 'kept');
      const lease = await early.one(30);
      await first.end('SIGKILL');
      await second.end('SIGKILL');
      const answer = awaited(third, ticket);
      await untilMetric(third, 'penstock_gateway_waiting_clients', 1);
      // Another session of the same unit, at another replica, with the lease of the first.
      const late = await fleet.unit('echo-1', third);
      expect(await late.complete(lease, 'delivered')).toBe('committed');
      expect(await (await answer).text()).toBe('delivered');
      await until(async () => (await third.demand(fleet.operator)).apps[0]?.leased === 0, { what: 'an idle app' });
    },
    TEST_MS,
  );
});
