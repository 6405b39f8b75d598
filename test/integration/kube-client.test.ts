// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { InferenceApp } from '#crds/inference-app.gen.ts';
import type { KubeClient } from '#kube/client.ts';
import { CoreV1Api } from '@kubernetes/client-node';
import { addFinalizer, applyStatusIfChanged, deleteExact, find, removeFinalizer } from '#kube/apply.ts';
import { mergeConditions } from '#kube/conditions.ts';
import { KubeError, isNotFound } from '#kube/errors.ts';
import { createEventRecorder } from '#kube/events.ts';
import { createInformer } from '#kube/informer.ts';
import { listAll } from '#kube/pager.ts';
import { PooledKubeConfig } from '#kube/pooled-config.ts';
import { CONFIG_MAPS, EVENTS, INFERENCE_APPS } from '#kube/resource.ts';
import type { Condition, KubeObject } from '#kube/types.ts';
import { createTransport } from '#kube/transport.ts';
import { sharedKube } from '../servers/kube.ts';
import { startTcpProxy } from '../tcp-proxy.ts';
import { until } from '../until.ts';
import { aConfigMap, aFixture, aNamespace } from './kube-fixture.ts';
import type { ConfigMap, Fixture } from './kube-fixture.ts';

const kube = sharedKube();
let fixture: Fixture;
let client: KubeClient;
let namespace: string;

beforeAll(async () => {
  fixture = aFixture(kube.kubeconfig);
  client = fixture.client;
  namespace = await aNamespace(client, 'client');
});
afterAll(() => client.close());

const apiPort = Number(new URL(kube.server).port);

function anApp(name: string): InferenceApp {
  return {
    metadata: { namespace, name },
    spec: { worker: { archetype: 'Handler', handler: 'handlers/a.ts' } },
  } as unknown as InferenceApp;
}

describe('sockets', () => {
  test('200 calls one after another use two connections at most, 200 at once sixteen, and the count stays flat', async () => {
    const proxy = await startTcpProxy(apiPort);
    const proxied = aFixture(kube.kubeconfig, `https://127.0.0.1:${proxy.port}`);
    const get = (): Promise<unknown> => proxied.client.list(CONFIG_MAPS, { namespace, limit: 1 });
    for (let i = 0; i < 200; i++) await get();
    // Two: undici hands an answer out a moment before it counts the connection as free.
    expect(proxy.accepted()).toBeLessThanOrEqual(2);
    await Promise.all(Array.from({ length: 200 }, get));
    expect(proxy.accepted()).toBeLessThanOrEqual(16);
    const opened = proxy.accepted();
    for (let i = 0; i < 200; i++) await get();
    expect(proxy.accepted()).toBe(opened);
    expect(proxy.open()).toBeLessThanOrEqual(opened);
    await proxied.client.close();
    await until(() => proxy.open() === 0, { what: 'all connections to be closed' });
    await proxy.close();
  });

  test('a watch takes none of the connections of calls', async () => {
    const proxy = await startTcpProxy(apiPort);
    const proxied = aFixture(kube.kubeconfig, `https://127.0.0.1:${proxy.port}`);
    const informers = Array.from({ length: 20 }, () =>
      createInformer<ConfigMap>(proxied, { resource: CONFIG_MAPS, namespace }),
    );
    for (const informer of informers) informer.start();
    await Promise.all(informers.map((informer) => informer.cache.synced(AbortSignal.timeout(10_000))));
    await proxied.client.list(CONFIG_MAPS, { namespace, deadlineMs: 5_000 });
    await until(() => proxy.open() >= 20, { what: 'twenty watches' });
    expect(proxy.accepted()).toBeLessThanOrEqual(20 + 16);
    await Promise.all(informers.map((informer) => informer.stop()));
    await proxied.client.close();
    await proxy.close();
  });

  test('a generated client of client-node made from the same config shares the pool', async () => {
    const proxy = await startTcpProxy(apiPort);
    const config = PooledKubeConfig.load(kube.kubeconfig);
    config.clusters = config.clusters.map((cluster) => ({ ...cluster, server: `https://127.0.0.1:${proxy.port}` }));
    const core = config.makeApiClient(CoreV1Api);
    for (let i = 0; i < 50; i++) await core.listNamespacedConfigMap({ namespace });
    expect(proxy.accepted()).toBeLessThanOrEqual(2);
    await config.close();
    await proxy.close();
  });
});

describe('calls', () => {
  test.for([
    ['an object that is not there', 404, 'NotFound', () => client.get(CONFIG_MAPS, { namespace, name: 'none' })],
    [
      'a stale write',
      409,
      'Conflict',
      () => client.replace(CONFIG_MAPS, { metadata: { namespace, name: 'stale', resourceVersion: '1' } }),
    ],
    [
      'an object that breaks the schema',
      422,
      'Invalid',
      () => client.create(INFERENCE_APPS, { metadata: { namespace, name: 'bad' } }),
    ],
    [
      'a continue token that is none',
      400,
      'BadRequest',
      () => client.list(CONFIG_MAPS, { namespace, continueToken: 'x' }),
    ],
  ] as const)('%s is a KubeError with the server’s status and reason', async ([, status, reason, call]) => {
    await client.apply(CONFIG_MAPS, aConfigMap(namespace, 'stale'), { fieldManager: 'test' });
    const err = await call().catch((caught: unknown) => caught);
    expect(err).toBeInstanceOf(KubeError);
    expect(err).toMatchObject({ status, reason });
  });

  test('a call into a black hole ends at its deadline and frees its connection', async () => {
    const proxy = await startTcpProxy(apiPort);
    const proxied = aFixture(kube.kubeconfig, `https://127.0.0.1:${proxy.port}`);
    await proxied.client.list(CONFIG_MAPS, { namespace });
    proxy.blackHole({ newOnesToo: true });
    const err = await proxied.client
      .list(CONFIG_MAPS, { namespace, deadlineMs: 300 })
      .catch((caught: unknown) => caught);
    expect(err).toMatchObject({ status: 0, reason: 'DeadlineExceeded' });
    proxy.heal();
    // Neither a dead connection nor one that is being made into the hole may hold later calls.
    const again = (): Promise<unknown> => proxied.client.list(CONFIG_MAPS, { namespace, deadlineMs: 1_000 });
    await until(again, { what: 'a call over a new connection', timeoutMs: 6_000 });
    await proxied.client.close();
    await proxy.close();
  });

  test('no server at all is a KubeError without status', async () => {
    const nobody = aFixture(kube.kubeconfig, 'https://127.0.0.1:9');
    await expect(nobody.client.list(CONFIG_MAPS)).rejects.toMatchObject({ status: 0, reason: 'ConnectionFailed' });
    await nobody.client.close();
  });

  test('the caller’s own abort is passed on as it is', async () => {
    const reason = new Error('enough');
    await expect(client.list(CONFIG_MAPS, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  test('a certificate of another authority is refused', async () => {
    const config = PooledKubeConfig.load(kube.kubeconfig);
    config.clusters = config.clusters.map(({ name, server }) => ({ name, server, skipTLSVerify: false }));
    const stranger = createTransport(config);
    await expect(stranger.call({ method: 'GET', path: '/readyz' })).rejects.toMatchObject({
      reason: 'ConnectionFailed',
    });
    await stranger.close();
  });
});

describe('a watch', () => {
  test('gives what happens after its resourceVersion, and ends in order at its time', async () => {
    const watched = await aNamespace(client, 'watch');
    const { resourceVersion } = await client.list(CONFIG_MAPS, { namespace: watched });
    const created = await client.create(CONFIG_MAPS, aConfigMap(watched, 'a'));
    await client.delete(CONFIG_MAPS, created.metadata);
    const frames: string[] = [];
    const options = { namespace: watched, resourceVersion, timeoutSeconds: 1, signal: AbortSignal.timeout(30_000) };
    for await (const { type, object } of client.watch(CONFIG_MAPS, options))
      frames.push(`${type} ${object.metadata.name}`);
    expect(frames).toEqual(['ADDED a', 'DELETED a']);
  });
});

describe('2 000 objects', () => {
  test('are listed in pages, by the pager and by a reflector', async () => {
    const many = await aNamespace(client, 'many');
    const create = async (from: number): Promise<void> => {
      for (let i = from; i < 2000; i += 16)
        await client.create(CONFIG_MAPS, aConfigMap(many, `o${String(i).padStart(4, '0')}`));
    };
    await Promise.all(Array.from({ length: 16 }, (_, i) => create(i)));
    const sizes: number[] = [];
    const counting: KubeClient = {
      ...client,
      list: async <T extends KubeObject>(...args: Parameters<KubeClient['list']>) => {
        const page = await client.list<T>(...args);
        sizes.push(page.items.length);
        return page;
      },
    };
    const listing = await listAll<ConfigMap>(counting, CONFIG_MAPS, { namespace: many });
    expect(sizes).toEqual([500, 500, 500, 500]);
    expect(new Set(listing.items.map(({ metadata }) => metadata.name)).size).toBe(2000);
    expect(listing.items[1999]).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
    const informer = createInformer<ConfigMap>(
      { ...fixture, client: counting },
      { resource: CONFIG_MAPS, namespace: many },
    );
    informer.start();
    await informer.cache.synced(AbortSignal.timeout(20_000));
    expect(informer.cache.list()).toHaveLength(2000);
    expect(sizes).toHaveLength(8);
    await client.create(CONFIG_MAPS, aConfigMap(many, 'one-more'));
    await until(() => informer.cache.get(`${many}/one-more`), { what: 'the watch after the pages' });
    await informer.stop();
  });
});

describe('status by server-side apply', () => {
  const status = (units: number, now = Date.now(), before?: Condition[]): object => ({
    replicas: units,
    conditions: mergeConditions<Condition>(
      before,
      [{ type: 'Ready', status: 'True', reason: 'Idle', message: 'idle' }],
      now,
    ),
  });

  test('writes nothing at rest: one write, then the resourceVersion stands still', async () => {
    await client.create(INFERENCE_APPS, anApp('rest'));
    const read = (): Promise<InferenceApp> => client.get<InferenceApp>(INFERENCE_APPS, { namespace, name: 'rest' });
    const wanted = status(1);
    expect(await applyStatusIfChanged(client, INFERENCE_APPS, await read(), wanted, 'operator')).toBe(true);
    const written = await read();
    expect(written.status?.conditions?.[0]).toMatchObject({ type: 'Ready', reason: 'Idle' });
    for (let i = 0; i < 5; i++) {
      const observed = await read();
      const same = {
        ...wanted,
        conditions: mergeConditions(
          observed.status?.conditions as Condition[],
          [{ type: 'Ready', status: 'True', reason: 'Idle', message: 'idle' }],
          Date.now(),
        ),
      };
      expect(await applyStatusIfChanged(client, INFERENCE_APPS, observed, same, 'operator')).toBe(false);
    }
    expect((await read()).metadata.resourceVersion).toBe(written.metadata.resourceVersion);
    expect(await applyStatusIfChanged(client, INFERENCE_APPS, written, status(2), 'operator')).toBe(true);
    expect((await read()).metadata.resourceVersion).not.toBe(written.metadata.resourceVersion);
  });

  test('a field that is no longer named is removed, another manager’s condition is left alone', async () => {
    await client.create(INFERENCE_APPS, anApp('shared'));
    const read = (): Promise<InferenceApp> => client.get<InferenceApp>(INFERENCE_APPS, { namespace, name: 'shared' });
    const theirs = {
      type: 'Approved',
      status: 'True',
      reason: 'Yes',
      message: '',
      lastTransitionTime: '2026-01-01T00:00:00Z',
    };
    const body = { metadata: { namespace, name: 'shared' }, status: { conditions: [theirs] } } as KubeObject;
    await client.applyStatus(INFERENCE_APPS, body, { fieldManager: 'somebody-else' });
    await applyStatusIfChanged(client, INFERENCE_APPS, await read(), status(3), 'operator');
    const both = await read();
    expect(both.status?.conditions?.map(({ type }) => type).toSorted()).toEqual(['Approved', 'Ready']);
    const { conditions } = status(3) as { conditions: Condition[] };
    const kept = conditions.map((condition) => ({
      ...condition,
      lastTransitionTime: both.status?.conditions?.find(({ type }) => type === 'Ready')?.lastTransitionTime,
    }));
    expect(await applyStatusIfChanged(client, INFERENCE_APPS, both, { conditions: kept }, 'operator')).toBe(true);
    const after = await read();
    expect(after.status).not.toHaveProperty('replicas');
    expect(after.status?.conditions?.map(({ type }) => type).toSorted()).toEqual(['Approved', 'Ready']);
  });

  test('the status of an object that is gone makes no new object', async () => {
    const old = await client.create(INFERENCE_APPS, anApp('gone'));
    await client.delete(INFERENCE_APPS, old.metadata);
    const write = applyStatusIfChanged(client, INFERENCE_APPS, old, status(1), 'operator');
    await expect(write).rejects.toMatchObject({ status: 404 });
  });
});

describe('finalizers', () => {
  test('two managers at once, both with the same stale object: neither loses the other’s', async () => {
    const created = await client.create(CONFIG_MAPS, aConfigMap(namespace, 'race'));
    const mine = Array.from({ length: 3 }, (_, i) => `a.example/f${i}`);
    for (const [i, finalizer] of mine.entries()) {
      const theirs = `b.example/f${i}`;
      await Promise.all([
        addFinalizer(client, CONFIG_MAPS, created, finalizer),
        addFinalizer(client, CONFIG_MAPS, created, theirs),
      ]);
    }
    const full = await client.get(CONFIG_MAPS, created.metadata);
    expect(full.metadata.finalizers?.toSorted()).toEqual(
      [...mine, ...mine.map((f) => f.replace('a.', 'b.'))].toSorted(),
    );
    // One removes its own while the other adds: from the same stale read.
    await Promise.all([
      removeFinalizer(client, CONFIG_MAPS, full, 'a.example/f0'),
      addFinalizer(client, CONFIG_MAPS, full, 'b.example/late'),
      removeFinalizer(client, CONFIG_MAPS, created, 'a.example/f1'),
    ]);
    const left = await client.get(CONFIG_MAPS, created.metadata);
    expect(left.metadata.finalizers).not.toContain('a.example/f0');
    expect(left.metadata.finalizers).toEqual(
      expect.arrayContaining(['a.example/f2', 'b.example/f0', 'b.example/late']),
    );
  });

  test('removing the last one of an object under deletion lets it go; removing it again is fine', async () => {
    const created = await client.create(CONFIG_MAPS, aConfigMap(namespace, 'leave'));
    const held = await addFinalizer(client, CONFIG_MAPS, created, 'a.example/hold');
    expect(await deleteExact(client, CONFIG_MAPS, held)).toBe('deleted');
    const going = await client.get(CONFIG_MAPS, created.metadata);
    expect(going.metadata.deletionTimestamp).toBeDefined();
    await removeFinalizer(client, CONFIG_MAPS, going, 'a.example/hold');
    expect(await find(client, CONFIG_MAPS, created.metadata)).toBeUndefined();
    expect(await removeFinalizer(client, CONFIG_MAPS, going, 'a.example/hold')).toBeUndefined();
  });
});

describe('exact deletes', () => {
  test('spare an object that changed, or has been made anew, since it was read', async () => {
    const old = await client.create(CONFIG_MAPS, aConfigMap(namespace, 'exact'));
    const changed = await client.patch(CONFIG_MAPS, old.metadata, { data: { x: '1' } }, { type: 'merge' });
    expect(await deleteExact(client, CONFIG_MAPS, old)).toBe('changed');
    expect(await deleteExact(client, CONFIG_MAPS, old, { evenIfChanged: true })).toBe('deleted');
    expect(await deleteExact(client, CONFIG_MAPS, changed)).toBe('gone');
    const anew = await client.create(CONFIG_MAPS, aConfigMap(namespace, 'exact'));
    expect(await deleteExact(client, CONFIG_MAPS, old, { evenIfChanged: true })).toBe('changed');
    expect(await deleteExact(client, CONFIG_MAPS, anew)).toBe('deleted');
  });
});

describe('Events', () => {
  test('are accepted by the server, and a repeat becomes a series', async () => {
    const regarding = await client.create(INFERENCE_APPS, anApp('told'));
    const recorder = createEventRecorder({ ...fixture, controller: 'penstock.dev/operator', instance: 'test-0' });
    const event = {
      regarding,
      type: 'Warning',
      reason: 'UnitFailed',
      action: 'CreateUnit',
      note: `no image: ${'é'.repeat(800)}`,
    } as const;
    recorder.record(event);
    recorder.record(event);
    recorder.record(event);
    recorder.record({ ...event, type: 'Normal', reason: 'UnitCreated', note: 'made' });
    await recorder.stop();
    const events = await client.list<KubeObject & { reason: string; note: string; series?: { count: number } }>(
      EVENTS,
      { namespace },
    );
    const about = events.items.filter(({ metadata }) => metadata.name.startsWith('told.'));
    expect(about.map(({ reason }) => reason).toSorted()).toEqual(['UnitCreated', 'UnitFailed']);
    const failed = about.find(({ reason }) => reason === 'UnitFailed');
    expect(Buffer.byteLength(failed?.note ?? '')).toBeLessThanOrEqual(1024);
    expect(failed?.series?.count).toBe(3);
    expect(isNotFound(await client.get(EVENTS, { namespace, name: 'told.none' }).catch((err: unknown) => err))).toBe(
      true,
    );
  });
});
