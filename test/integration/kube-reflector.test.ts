// SPDX-License-Identifier: Apache-2.0
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { CacheEvent } from '#kube/cache.ts';
import { createInformer } from '#kube/informer.ts';
import type { Informer } from '#kube/informer.ts';
import { CONFIG_MAPS } from '#kube/resource.ts';
import { startApiServer } from '../servers/apiserver.ts';
import type { ApiServer } from '../servers/apiserver.ts';
import { startTcpProxy } from '../tcp-proxy.ts';
import type { TcpProxy } from '../tcp-proxy.ts';
import { until } from '../until.ts';
import { aConfigMap, aFixture, aNamespace, story } from './kube-fixture.ts';
import type { ConfigMap, Fixture } from './kube-fixture.ts';

let server: ApiServer;
let direct: Fixture;
const closing: (() => Promise<void>)[] = [];

beforeAll(async () => {
  // Without the watch cache a compaction is felt at once: etcd itself answers the watches.
  server = await startApiServer({ crds: false, flags: ['--watch-cache=false'] });
  direct = aFixture(server.kubeconfig);
});
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});
afterAll(async () => {
  await direct.client.close();
  await server.stop();
});

interface Watched {
  readonly informer: Informer<ConfigMap>;
  readonly events: CacheEvent<ConfigMap>[];
  readonly fixture: Fixture;
  readonly proxy: TcpProxy;
}

/** An informer on the ConfigMaps of one namespace, behind a proxy. */
async function watched(namespace: string, silenceLimitMs = 150_000): Promise<Watched> {
  const proxy = await startTcpProxy(Number(new URL(server.server).port));
  closing.push(() => proxy.close());
  const fixture = aFixture(server.kubeconfig, `https://127.0.0.1:${proxy.port}`);
  closing.push(() => fixture.client.close());
  const informer = createInformer<ConfigMap>(fixture, { resource: CONFIG_MAPS, namespace, silenceLimitMs });
  const events: CacheEvent<ConfigMap>[] = [];
  informer.cache.onChange((event) => events.push(event));
  informer.start();
  closing.push(() => informer.stop());
  await informer.cache.synced(AbortSignal.timeout(10_000));
  return { informer, events, fixture, proxy };
}

async function names(namespace: string): Promise<string[]> {
  const { items } = await direct.client.list(CONFIG_MAPS, { namespace });
  return items.map(({ metadata }) => metadata.name).toSorted();
}

describe('a reflector on a real API server', () => {
  test('survives kill -9 of the API server: no change missed, none told twice, same process', async () => {
    const namespace = await aNamespace(direct.client, 'kill');
    const { informer, events, fixture } = await watched(namespace);
    const create = (from: number, to: number): Promise<unknown> =>
      Promise.all(
        Array.from({ length: to - from }, (_, i) =>
          direct.client.create(CONFIG_MAPS, aConfigMap(namespace, `o${from + i}`)),
        ),
      );
    await create(0, 20);
    await until(() => events.length === 20, { what: 'the first twenty' });
    // Accepted by the server, perhaps not told to us any more.
    await create(20, 40);
    const patch = { data: { changed: 'before the kill' } };
    await direct.client.patch(CONFIG_MAPS, { namespace, name: 'o1' }, patch, { type: 'merge' });
    await direct.client.delete(CONFIG_MAPS, { namespace, name: 'o0' });
    await server.kill9();
    await until(() => informer.trouble(), { what: 'the reflector to notice' });
    await server.restart();
    await create(40, 60);
    await until(
      async () =>
        (await names(namespace)).length === informer.cache.list().length && informer.cache.get(`${namespace}/o59`),
      {
        what: 'the cache to be whole again',
        timeoutMs: 40_000,
      },
    );
    const told = story(events);
    expect(new Set(told).size).toBe(told.length);
    expect(told.toSorted()).toEqual(
      [...Array.from({ length: 60 }, (_, i) => `add o${i}`), 'update o1', 'delete o0'].toSorted(),
    );
    expect(informer.trouble()).toBeUndefined();
    expect(await fixture.count('penstock_kube_watch_restarts_total')).toBeGreaterThan(0);
  });

  test('lists again after a compaction (410), and tells the deletes that it missed', async () => {
    const namespace = await aNamespace(direct.client, 'gone');
    for (const name of ['keep', 'change', 'delete', 'replace'])
      await direct.client.create(CONFIG_MAPS, aConfigMap(namespace, name));
    const { informer, events, fixture, proxy } = await watched(namespace);
    proxy.cut();
    await until(() => informer.trouble(), { what: 'the reflector to notice' });
    const last = events.length;
    await direct.client.delete(CONFIG_MAPS, { namespace, name: 'delete' });
    await direct.client.delete(CONFIG_MAPS, { namespace, name: 'replace' });
    await direct.client.create(CONFIG_MAPS, aConfigMap(namespace, 'replace', { made: 'anew' }));
    await direct.client.patch(CONFIG_MAPS, { namespace, name: 'change' }, { data: { x: '1' } }, { type: 'merge' });
    await direct.client.create(CONFIG_MAPS, aConfigMap(namespace, 'new'));
    await server.compact();
    proxy.heal();
    await until(() => informer.cache.get(`${namespace}/new`), { what: 'the list after the gap', timeoutMs: 40_000 });
    expect(await fixture.count('penstock_kube_relist_total')).toBe(1);
    expect(story(events.slice(last)).toSorted()).toEqual(
      ['delete delete', 'delete replace', 'add replace', 'update change', 'add new'].toSorted(),
    );
    await direct.client.create(CONFIG_MAPS, aConfigMap(namespace, 'after'));
    await until(() => informer.cache.get(`${namespace}/after`), { what: 'the watch after the list' });
  });

  test('a cut without compaction resumes the watch where it was, without a list', async () => {
    const namespace = await aNamespace(direct.client, 'cut');
    const { informer, events, fixture, proxy } = await watched(namespace);
    await direct.client.create(CONFIG_MAPS, aConfigMap(namespace, 'a'));
    await until(() => events.length === 1, { what: 'the first event' });
    proxy.cut();
    await until(() => informer.trouble(), { what: 'the reflector to notice' });
    await direct.client.patch(CONFIG_MAPS, { namespace, name: 'a' }, { data: { n: '1' } }, { type: 'merge' });
    await direct.client.patch(CONFIG_MAPS, { namespace, name: 'a' }, { data: { n: '2' } }, { type: 'merge' });
    proxy.heal();
    await until(() => events.length === 3, { what: 'both changes', timeoutMs: 40_000 });
    expect(story(events)).toEqual(['add a', 'update a', 'update a']);
    expect(await fixture.count('penstock_kube_relist_total')).toBe(0);
  });

  test('a peer that vanishes without a word is noticed by its silence, and the watch is opened again', async () => {
    const namespace = await aNamespace(direct.client, 'hole');
    const silenceLimitMs = 2_000;
    const { informer, fixture, proxy } = await watched(namespace, silenceLimitMs);
    let n = 0;
    const touch = async (): Promise<void> => {
      n += 1;
      await direct.client.apply(CONFIG_MAPS, aConfigMap(namespace, 'a', { n: String(n) }), { fieldManager: 'test' });
    };
    const seen = (): string | undefined => informer.cache.get(`${namespace}/a`)?.data?.['n'];
    // A watch that hears something within the limit is left alone.
    for (const from = performance.now(); performance.now() - from < 2 * silenceLimitMs;) {
      await touch();
      await until(() => seen() === String(n), { what: 'the change' });
    }
    expect(await fixture.count('penstock_kube_watch_restarts_total')).toBe(0);
    proxy.blackHole();
    await touch();
    const from = performance.now();
    await until(() => seen() === String(n), {
      what: 'the change over a new connection',
      timeoutMs: 4 * silenceLimitMs,
    });
    expect(performance.now() - from).toBeGreaterThan(silenceLimitMs / 2);
    expect(await fixture.count('penstock_kube_watch_restarts_total')).toBeGreaterThan(0);
    expect(await fixture.count('penstock_kube_relist_total')).toBe(0);
  });

  test('a stopped reflector stays stopped, also when it is stopped while it waits to try again', async () => {
    const namespace = await aNamespace(direct.client, 'stop');
    const { informer, events, proxy } = await watched(namespace);
    proxy.cut();
    await until(() => informer.trouble(), { what: 'the reflector to notice' });
    await informer.stop();
    proxy.heal();
    const connections = proxy.accepted();
    await direct.client.create(CONFIG_MAPS, aConfigMap(namespace, 'late'));
    // Longer than any wait between two attempts: a zombie would have come back by now (another watch shows the time passing).
    const second = await watched(namespace, 1_000);
    await until(async () => (await second.fixture.count('penstock_kube_watch_restarts_total')) > 0, {
      what: 'time to pass',
    });
    expect(second.informer.cache.get(`${namespace}/late`)).toBeDefined();
    expect(events).toEqual([]);
    expect(proxy.accepted()).toBe(connections);
    expect(() => informer.start()).toThrow('was stopped');
  });

  test('label and field selectors reach the list and the watch', async () => {
    const namespace = await aNamespace(direct.client, 'select');
    const labelled = (name: string, app: string): ConfigMap => ({ metadata: { namespace, name, labels: { app } } });
    await direct.client.create(CONFIG_MAPS, labelled('a1', 'a'));
    await direct.client.create(CONFIG_MAPS, labelled('b1', 'b'));
    const byLabel = createInformer<ConfigMap>(direct, { resource: CONFIG_MAPS, namespace, labelSelector: 'app=a' });
    const byField = createInformer<ConfigMap>(direct, {
      resource: CONFIG_MAPS,
      namespace,
      fieldSelector: 'metadata.name=b2',
    });
    for (const informer of [byLabel, byField]) {
      informer.start();
      closing.push(() => informer.stop());
      await informer.cache.synced(AbortSignal.timeout(10_000));
    }
    for (const [name, app] of [
      ['a2', 'a'],
      ['b2', 'b'],
    ] as const)
      await direct.client.create(CONFIG_MAPS, labelled(name, app));
    await until(() => byField.cache.list().length === 1 && byLabel.cache.list().length === 2, { what: 'both caches' });
    expect(byLabel.cache.list().map(({ metadata }) => metadata.name)).toEqual(['a1', 'a2']);
    // Leaving the selector is a delete.
    await direct.client.patch(
      CONFIG_MAPS,
      { namespace, name: 'a1' },
      { metadata: { labels: { app: 'b' } } },
      { type: 'merge' },
    );
    await until(() => byLabel.cache.list().length === 1, { what: 'the object to leave' });
  });
});
