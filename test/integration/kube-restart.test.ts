// SPDX-License-Identifier: Apache-2.0
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { createController } from '#kube/controller.ts';
import { createInformer } from '#kube/informer.ts';
import type { CacheEvent } from '#kube/cache.ts';
import { TerminalError } from '#kube/errors.ts';
import { CONFIG_MAPS } from '#kube/resource.ts';
import { startApiServer } from '../servers/apiserver.ts';
import type { ApiServer } from '../servers/apiserver.ts';
import { until } from '../until.ts';
import { aConfigMap, aFixture, aNamespace, story } from './kube-fixture.ts';
import type { ConfigMap, Fixture } from './kube-fixture.ts';

/** As most clusters run it, with the watch cache, which starts empty after a restart. */
let server: ApiServer;
let fixture: Fixture;
const closing: (() => Promise<void>)[] = [];

beforeAll(async () => {
  server = await startApiServer({ crds: false });
  fixture = aFixture(server.kubeconfig);
});
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});
afterAll(async () => {
  await fixture.client.close();
  await server.stop();
});

describe('a controller over an informer', () => {
  test('kill -9 of the API server under load: every object is reconciled to its last state by the same process', async () => {
    const namespace = await aNamespace(fixture.client, 'load');
    const informer = createInformer<ConfigMap>(fixture, { resource: CONFIG_MAPS, namespace });
    const events: CacheEvent<ConfigMap>[] = [];
    const seen = new Map<string, string | undefined>();
    const controller = createController({
      ...fixture,
      name: 'restart',
      reconcile: async (key) => {
        const object = informer.cache.get(key);
        // A call of its own, so that reconciles fail while the server is away.
        if (object) await fixture.client.get(CONFIG_MAPS, object.metadata, { deadlineMs: 2_000 });
        seen.set(key, object?.data?.['n']);
      },
    });
    informer.cache.onChange((event) => {
      events.push(event);
      controller.enqueue(event.key);
    });
    informer.start();
    controller.start();
    closing.push(
      () => informer.stop(),
      () => controller.stop(),
    );
    await informer.cache.synced(AbortSignal.timeout(10_000));

    const write = (name: string, n: string): Promise<unknown> =>
      fixture.client.apply(CONFIG_MAPS, aConfigMap(namespace, name, { n }), { fieldManager: 'test' });
    for (let i = 0; i < 30; i++) await write(`o${i}`, 'before');
    for (let i = 0; i < 30; i += 2) await write(`o${i}`, 'changed');
    await fixture.client.delete(CONFIG_MAPS, { namespace, name: 'o1' });
    await server.kill9();
    await expect(write('o3', 'lost')).rejects.toMatchObject({ status: 0 });
    await until(() => informer.trouble(), { what: 'the informer to notice' });
    await server.restart();
    for (let i = 30; i < 40; i++) await write(`o${i}`, 'after');

    const wanted = (i: number): string | undefined =>
      i === 1 ? undefined : i >= 30 ? 'after' : i % 2 === 0 ? 'changed' : 'before';
    await until(
      () => Array.from({ length: 40 }, (_, i) => seen.get(`${namespace}/o${i}`) === wanted(i)).every(Boolean),
      {
        what: 'every object in its last state',
        timeoutMs: 60_000,
      },
    );
    const versions = events.flatMap((event) =>
      event.type === 'delete' ? [] : `${event.key} ${event.object.metadata.resourceVersion}`,
    );
    expect(new Set(versions).size).toBe(versions.length);
    expect(story(events).filter((line) => line === 'delete o1')).toHaveLength(1);
    expect(await fixture.count('penstock_kube_watch_restarts_total')).toBeGreaterThan(0);
  });

  test('a handler that throws: the process lives, the key is tried again, other keys are not held up', async () => {
    const rejections: unknown[] = [];
    const onRejection = (reason: unknown): void => void rejections.push(reason);
    process.on('unhandledRejection', onRejection);
    closing.push(async () => void process.off('unhandledRejection', onRejection));
    const namespace = await aNamespace(fixture.client, 'throws');
    const informer = createInformer<ConfigMap>(fixture, { resource: CONFIG_MAPS, namespace });
    const runs: string[] = [];
    const controller = createController({
      ...fixture,
      name: 'throws',
      workers: 1,
      reconcile: async (key) => {
        runs.push(key);
        if (key.endsWith('/bad') && runs.filter((run) => run === key).length < 5) throw new Error('not yet');
        if (key.endsWith('/hopeless')) throw new TerminalError('never');
      },
    });
    informer.cache.onChange(() => {
      throw new Error('a careless listener');
    });
    informer.cache.onChange(({ key }) => controller.enqueue(key));
    informer.start();
    controller.start();
    closing.push(
      () => informer.stop(),
      () => controller.stop(),
    );
    for (const name of ['bad', 'hopeless', 'good'])
      await fixture.client.create(CONFIG_MAPS, aConfigMap(namespace, name));
    const runsOf = (name: string): number => runs.filter((run) => run === `${namespace}/${name}`).length;
    await until(() => runsOf('bad') === 5 && runsOf('good') === 1, { what: 'five tries of the bad key' });
    // The watch is still there, and so is the worker.
    await fixture.client.create(CONFIG_MAPS, aConfigMap(namespace, 'later'));
    await until(() => runsOf('later') === 1, { what: 'a later object' });
    expect(runsOf('hopeless')).toBe(1);
    expect(rejections).toEqual([]);
    expect(await fixture.count('penstock_kube_listener_errors_total')).toBe(4);
    const results = await fixture.registry.getSingleMetric('penstock_kube_reconcile_total')?.get();
    const count = (result: string): number | undefined =>
      results?.values.find(({ labels }) => labels['controller'] === 'throws' && labels['result'] === result)?.value;
    expect([count('error'), count('terminal'), count('success')]).toEqual([4, 1, 3]);
  });
});
