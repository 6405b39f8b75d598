// SPDX-License-Identifier: Apache-2.0
import { hash, randomBytes } from 'node:crypto';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, inject, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { systemRandom } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import { openEmbeddedQueue, openRedisQueue } from '#gateway/queue/open.ts';
import { bodyKey, parseKey } from '#gateway/store/keys.ts';
import { openLocalStore } from '#gateway/store/open.ts';
import { startRedis } from '#test/servers/redis.ts';
import { until } from '#test/until.ts';
import { post, problem, status, submit, untilWaiting } from './gateway.client.ts';
import { bodyOf, connectUnit, makeFleet, orphanSweepLater, startStack, testApp, testApps } from './gateway.harness.ts';
import type { Stack, TestUnit } from './gateway.harness.ts';
import { gatewayProcess } from './gateway.process.ts';
import type { GatewayProcess } from './gateway.process.ts';

const cleanUp: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).toReversed()) await step();
});

/** Two gateways, each with its own connection to one Redis and one object store between them. */
async function twoGateways(): Promise<[Stack, Stack]> {
  const prefix = `gateway-${randomBytes(6).toString('hex')}`;
  const fleet = await makeFleet();
  const open = async (first?: Stack): Promise<Stack> => {
    const queue = await openRedisQueue({
      url: inject('servers').redis.url,
      prefix,
      clock: systemClock,
      logger: silentLogger,
    });
    const stack = await startStack({ queue, fleet, ...(first === undefined ? {} : { store: first.store }) });
    cleanUp.push(async () => {
      await stack.close();
      await queue.close();
    });
    return stack;
  };
  const first = await open();
  return [first, await open(first)];
}

describe('two gateways on one Redis', () => {
  test('wake each other’s units and clients', async () => {
    const [a, b] = await twoGateways();
    const worker = await b.unit('echo-1');
    const waiting = worker.one(30);
    await untilWaiting(b, 'units', 1);
    const began = performance.now();
    const answer = post(`${a.url}/v1/echo/infer`, 'over there', { prefer: 'wait=30' });
    const lease = await waiting;
    expect((await bodyOf(lease)).toString()).toBe('over there');
    expect(await worker.complete(lease, 'and back')).toBe('committed');
    const response = await answer;
    expect([response.status, await response.text()]).toEqual([200, 'and back']);
    // Below the 5 s re-check: it was the wake-up, not the fallback.
    expect(performance.now() - began).toBeLessThan(4_000);
  });

  test('accept each other’s tickets and session tokens, and join equal requests', async () => {
    const [a, b] = await twoGateways();
    const ticket = await submit(a, 'one');
    expect(await submit(b, 'one')).toBe(ticket);
    expect((await status(b, ticket)).status).toBe(202);
    const worker = await a.unit('echo-1');
    const answer = await fetch(`${b.internal}/internal/v1/lease`, {
      method: 'POST',
      headers: { authorization: `Bearer ${worker.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ max: 1, wait_seconds: 0 }),
    });
    expect(await answer.json()).toMatchObject({ leases: [{ attempt: 1 }] });
  });

  test('serve 200 requests through four units exactly once each', async () => {
    const [a, b] = await twoGateways();
    const runs = new Map<string, number>();
    const over = new AbortController();
    const work = async (worker: TestUnit): Promise<void> => {
      while (!over.signal.aborted) {
        const { leases } = await worker.lease(4, 1);
        for (const lease of leases) {
          const text = (await bodyOf(lease)).toString();
          runs.set(text, (runs.get(text) ?? 0) + 1);
          expect(await worker.complete(lease, text.toUpperCase())).toBe('committed');
        }
      }
    };
    const units = await Promise.all([a.unit('u-1'), b.unit('u-2'), a.unit('u-3'), b.unit('u-4')]);
    const working = units.map(work);
    const bodies = Array.from({ length: 200 }, (_, i) => `request ${i}`);
    const answers = await Promise.all(
      bodies.map(async (body, i) => {
        const response = await post(`${(i % 2 === 0 ? a : b).url}/v1/echo/infer`, body, { prefer: 'wait=60' });
        return await response.text();
      }),
    );
    over.abort();
    await Promise.all(working);
    expect(answers).toEqual(bodies.map((body) => body.toUpperCase()));
    expect([...runs.values()].filter((count) => count !== 1)).toEqual([]);
    expect(runs.size).toBe(200);
  });
});

/** What a gateway that has ended left in its folder: once the walk has gone over it, each object is one that a request names. */
async function expectNoStrays(dir: string, uid: string): Promise<void> {
  const deps = { clock: systemClock, random: systemRandom, logger: silentLogger };
  const queue = openEmbeddedQueue({ file: join(dir, 'data/queue.db'), ...deps });
  cleanUp.push(() => queue.close());
  const urls = { signingKey: randomBytes(32), clientUrl: 'http://127.0.0.1', workerUrl: 'http://127.0.0.1' };
  const store = await openLocalStore({ root: join(dir, 'data/objects'), ...urls, ...deps });
  // As a kill between put and enqueue leaves one; whether the kills above did is chance.
  const stray = bodyKey(uid, uuid7(systemClock, systemRandom));
  await store.put(stray, Buffer.from('stray'), { contentType: 'text/plain' });
  const sweep = orphanSweepLater({ queue, store, apps: testApps([testApp({ uid })]) }, 7_200_000);
  for (let page = 0; page < 10; page++) await sweep.step();
  expect(await store.head(stray)).toBeUndefined();
  const left = (await store.list('v1/')).objects.map(({ key }) => key);
  expect(left.length).toBeGreaterThan(0);
  for (const key of left) {
    const record = await queue.get(uid, parseKey(key)?.id ?? '');
    expect([record?.body.key, record?.result?.key]).toContain(key);
  }
}

async function launched(settings: Readonly<Record<string, string>> = {}): Promise<GatewayProcess> {
  const gateway = await gatewayProcess(settings);
  cleanUp.push(gateway.remove);
  return gateway;
}

describe('the gateway’s process', () => {
  test('killed with -9 again and again loses nothing that it has accepted', async () => {
    const gateway = await launched();
    const accepted = new Map<string, string>();
    for (let round = 0; round < 3; round++) {
      await gateway.start();
      const load = async (lane: number): Promise<void> => {
        for (let i = 0; ; i++) {
          // Every third body is too large for the record and goes through the object store.
          const body = `${round}.${lane}.${i} ${i % 3 === 0 ? 'x'.repeat(20_000) : ''}`;
          const response = await post(`${gateway.url}/v1/echo/infer`, body);
          accepted.set(body, ((await response.json()) as { ticket: string }).ticket);
        }
      };
      const lanes = Array.from({ length: 8 }, (_, lane) => load(lane).catch(() => 'cut off'));
      const wanted = (round + 1) * 100;
      await until(() => accepted.size >= wanted, { what: `${wanted} accepted requests`, timeoutMs: 30_000 });
      await gateway.end('SIGKILL');
      await Promise.all(lanes);
    }
    await gateway.start();
    const [app] = (await gateway.demand()).apps;
    expect(app?.queued).toBeGreaterThanOrEqual(accepted.size);
    const worker = await connectUnit(gateway.internal, gateway.operator, 'echo-1', {
      app: app?.uid ?? '',
      revision: app?.revision ?? '',
    });
    const seen = new Set<string>();
    for (;;) {
      const { leases } = await worker.lease(64, 0);
      if (leases.length === 0) break;
      for (const lease of leases) {
        const body = (await bodyOf(lease)).toString();
        seen.add(body);
        await worker.complete(lease, `done ${body.split(' ')[0] ?? ''}`);
      }
    }
    for (const [body, ticket] of accepted) {
      expect(seen.has(body)).toBe(true);
      const done = await fetch(`${gateway.url}/v1/echo/status/${ticket}`);
      expect([done.status, await done.text()]).toEqual([200, `done ${body.split(' ')[0] ?? ''}`]);
    }
    await gateway.end('SIGTERM');
    await expectNoStrays(gateway.dir, app?.uid ?? '');
  });

  test('ends in order on SIGTERM and says which promise holds', async () => {
    const gateway = await launched();
    await gateway.start();
    expect((await post(`${gateway.url}/v1/echo/infer`, 'kept')).status).toBe(202);
    await gateway.end('SIGTERM');
    expect(gateway.log()).toContain('gateway has stopped');
    await gateway.start();
    const metrics = await (await fetch(`${gateway.ops}/metrics`)).text();
    expect(metrics).toMatch(/penstock_gateway_durability\{[^}]*promise="fsync"[^}]*\} 1/);
    expect(metrics).toMatch(/penstock_gateway_accepted_total\{[^}]*how="joined"[^}]*\} 0/);
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(404);
    expect(await (await fetch(`${gateway.ops}/readyz`)).text()).toBe(
      'ok: an accepted request is on disk before its client hears of it',
    );
  });

  test('refuses to open its port beyond loopback without API keys', async () => {
    const gateway = await launched({ PENSTOCK_CLIENT_HOST: '0.0.0.0', PENSTOCK_PUBLIC_URL: 'http://127.0.0.1:1' });
    expect(await gateway.refusal()).toContain('refusing to listen on 0.0.0.0 without API keys');
  });

  test('refuses a Redis that may lose a second when durability is required', async () => {
    const redis = await startRedis({ appendonly: true, fsync: 'everysec' });
    cleanUp.push(() => redis.stop());
    const gateway = await launched({
      PENSTOCK_QUEUE: 'redis',
      PENSTOCK_REDIS_URL: redis.url,
      PENSTOCK_DURABILITY: 'required',
    });
    expect(await gateway.refusal()).toContain('the queue promises only everysec');
  });

  test('refuses a wrong setting by its name', async () => {
    const gateway = await launched({ PENSTOCK_LEASE_SECONDS: '1' });
    expect(await gateway.refusal()).toContain('leaseSeconds');
  });

  test('reads apps again when their files change, and keeps the last good ones and their uids', async () => {
    const gateway = await launched();
    const app = join(gateway.dir, 'app.yaml');
    await gateway.start();
    const call = (name: string): Promise<Response> => post(`${gateway.url}/v1/${name}/infer`, 'x');
    const first = (await gateway.demand()).apps[0]?.uid;
    expect((await call('second')).status).toBe(404);
    appendFileSync(app, SECOND);
    await until(async () => (await call('second')).status === 202, { what: 'the second app' });
    appendFileSync(app, '---\nkind: InferenceApp\nspec: {worker: {archetype: Handlr}}\n');
    await until(() => gateway.log().includes('manifest refused'), { what: 'the refusal of a bad manifest' });
    expect((await call('second')).status).toBe(202);
    expect((await gateway.demand()).apps[0]?.uid).toBe(first);
    await gateway.end('SIGKILL');
    rmSync(app);
    writeFileSync(app, SECOND);
    await gateway.start();
    expect(await problem(await call('echo'))).toEqual([409, 'app-deleting']);
    expect((await call('second')).status).toBe(202);
  });

  test('reads tenants again when their file changes, and keeps the last good ones', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'penstock-tenants-'));
    cleanUp.push(async () => rmSync(dir, { recursive: true }));
    const file = join(dir, 'tenants.yaml');
    const allow = (key: string): void =>
      writeFileSync(file, `tenants: [{name: default, apiKeys: [{sha256: ${hash('sha256', key)}}]}]\n`);
    allow('first');
    const gateway = await launched({ PENSTOCK_TENANTS_FILE: file });
    await gateway.start();
    const call = async (key: string): Promise<number> =>
      (await post(`${gateway.url}/v1/echo/infer`, 'x', { 'x-api-key': key })).status;
    expect([await call('first'), await call('second')]).toEqual([202, 401]);
    allow('second');
    await until(async () => (await call('second')) === 202, { what: 'the second key' });
    expect(await call('first')).toBe(401);
    writeFileSync(file, 'tenants: [{name: default, apiKeys: [{sha256: nonsense}]}]\n');
    await until(() => gateway.log().includes('tenants file refused'), { what: 'the refusal of a bad file' });
    expect(await call('second')).toBe(202);
  });
});

const SECOND = `---
apiVersion: penstock.dev/v1alpha1
kind: InferenceApp
metadata: {name: second}
spec: {worker: {archetype: Handler, handler: second.ts}}
`;
