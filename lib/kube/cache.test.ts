// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { ObjectCache } from './cache.ts';
import { createKubeMetrics } from './kube-metrics.ts';
import type { KubeObject } from './types.ts';

interface Pod extends KubeObject {
  spec?: { node: string };
}

function aPod(name: string, resourceVersion: string, options: { uid?: string; app?: string; node?: string } = {}): Pod {
  const { uid = name, app = 'x', node = 'n1' } = options;
  return { metadata: { namespace: 'ns', name, uid, resourceVersion, labels: { app } }, spec: { node } };
}

function aCache(index?: (pod: Pod) => readonly string[]): { cache: ObjectCache<Pod>; events: string[] } {
  const metrics = createKubeMetrics(createRegistry('test', false));
  const cache = new ObjectCache<Pod>({ name: 'pods', logger: silentLogger, metrics, ...(index ? { index } : {}) });
  const events: string[] = [];
  cache.onChange(({ type, key }) => events.push(`${type} ${key}`));
  return { cache, events };
}

describe('cache', () => {
  test('tells adds, updates and deletes once each, and nothing for what it knows already', () => {
    const { cache, events } = aCache();
    cache.put(aPod('a', '1'));
    cache.put(aPod('a', '1'));
    cache.put(aPod('a', '2'));
    cache.remove(aPod('a', '3'));
    cache.remove(aPod('a', '3'));
    expect(events).toEqual(['add ns/a', 'update ns/a', 'delete ns/a']);
  });

  test('a list tells what was deleted unseen, and is the first moment it counts as synced', async () => {
    const { cache, events } = aCache();
    cache.put(aPod('old', '1'));
    expect(cache.hasSynced()).toBe(false);
    const synced = cache.synced();
    cache.replace([aPod('a', '5'), aPod('b', '6')]);
    await synced;
    cache.replace([aPod('b', '6')]);
    expect(cache.hasSynced()).toBe(true);
    expect(events).toEqual(['add ns/old', 'delete ns/old', 'add ns/a', 'add ns/b', 'delete ns/a']);
  });

  test('an object made anew under the same name is a delete and an add; a late delete of the old one is ignored', () => {
    const { cache, events } = aCache();
    cache.put(aPod('a', '1', { uid: 'one' }));
    cache.put(aPod('a', '2', { uid: 'two' }));
    cache.remove(aPod('a', '1', { uid: 'one' }));
    expect(events).toEqual(['add ns/a', 'delete ns/a', 'add ns/a']);
    expect(cache.get('ns/a')?.metadata.uid).toBe('two');
  });

  test('the index follows changes and deletes', () => {
    const { cache } = aCache((pod) => [pod.metadata.labels?.['app'] ?? '', `node:${pod.spec?.node}`]);
    cache.replace([aPod('a', '1'), aPod('b', '2'), aPod('c', '3', { app: 'y' })]);
    const at = (value: string): string[] => cache.byIndex(value).map(({ metadata }) => metadata.name);
    expect([at('x'), at('y'), at('node:n1')]).toEqual([['a', 'b'], ['c'], ['a', 'b', 'c']]);
    cache.put(aPod('a', '4', { app: 'y', node: 'n2' }));
    cache.remove(aPod('b', '5'));
    expect([at('x'), at('y'), at('node:n1'), at('node:n2'), at('none')]).toEqual([[], ['c', 'a'], ['c'], ['a'], []]);
  });

  test('objects are frozen all the way down', () => {
    const { cache } = aCache();
    cache.put(aPod('a', '1'));
    const pod = cache.get('ns/a');
    expect(() => Object.assign(pod?.metadata.labels ?? {}, { app: 'changed' })).toThrow(TypeError);
    expect(structuredClone(pod)).toEqual(pod);
  });

  test('a listener gets what is there already, a throwing one harms nobody, a gone one hears nothing', () => {
    const { cache, events } = aCache();
    cache.put(aPod('a', '1'));
    const late: string[] = [];
    const stop = cache.onChange(({ key }) => {
      late.push(key);
      throw new Error('careless');
    });
    cache.put(aPod('b', '2'));
    stop();
    cache.put(aPod('c', '3'));
    expect(late).toEqual(['ns/a', 'ns/b']);
    expect(events).toEqual(['add ns/a', 'add ns/b', 'add ns/c']);
  });

  test('waiting for the first list can be given up', async () => {
    const { cache } = aCache();
    const patience = new AbortController();
    const waiting = cache.synced(patience.signal);
    patience.abort(new Error('no more'));
    await expect(waiting).rejects.toThrow('no more');
  });
});
