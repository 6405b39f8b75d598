// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { ObjectCache } from '#kube/cache.ts';
import { createKubeMetrics } from '#kube/kube-metrics.ts';
import type { KubeObject } from '#kube/types.ts';
import { createNamespaceLabels, namespaceFacts } from './namespaces.ts';

const aNamespace = (name: string, labels?: Record<string, string>): KubeObject => ({
  metadata: { name, uid: name, resourceVersion: '1', ...(labels ? { labels } : {}) },
});

function aWorld(found: readonly KubeObject[] | Error) {
  const metrics = createKubeMetrics(createRegistry('test', false));
  const cache = new ObjectCache<KubeObject>({ name: 'namespaces', logger: silentLogger, metrics });
  const asked: (string | undefined)[] = [];
  const list = async (_resource: unknown, options?: { fieldSelector?: string | undefined }) => {
    asked.push(options?.fieldSelector);
    if (found instanceof Error) throw found;
    return { items: found, resourceVersion: '1' };
  };
  const labels = createNamespaceLabels({ list } as never, cache);
  return { cache, asked, labels };
}

describe('labels of namespaces', () => {
  test('come from the watch, and cost nothing', () => {
    const { cache, labels, asked } = aWorld([]);
    cache.replace([aNamespace('a', { team: 'x' }), aNamespace('b')]);
    expect([labels.prepare('a'), labels.of('a'), labels.of('b')]).toEqual([undefined, { team: 'x' }, {}]);
    expect(asked).toEqual([]);
  });

  test('are read once where the watch has not told of the namespace yet', async () => {
    const { cache, labels, asked } = aWorld([aNamespace('new', { team: 'y' })]);
    cache.replace([]);
    await Promise.all([labels.prepare('new'), labels.prepare('new')]);
    expect([labels.of('new'), asked]).toEqual([{ team: 'y' }, ['metadata.name=new']]);
    expect(labels.prepare('new')).toBeUndefined();
    cache.put(aNamespace('new', { team: 'z' }));
    expect(labels.of('new')).toEqual({ team: 'z' });
  });

  test('by a name that no namespace can have are not asked for', () => {
    const { cache, labels, asked } = aWorld([]);
    cache.replace([]);
    for (const name of ['', 'a,metadata.name!=b', 'A', 'a'.repeat(64)]) expect(labels.prepare(name)).toBeUndefined();
    expect(asked).toEqual([]);
  });

  test('of one that was deleted are forgotten', async () => {
    const { cache, labels } = aWorld([aNamespace('new')]);
    cache.replace([]);
    await labels.prepare('new');
    cache.put(aNamespace('new'));
    cache.replace([]);
    expect(labels.of('new')).toBeUndefined();
  });

  test.each([
    ['an error', new Error('refused')],
    ['no such namespace', []],
  ] as const)('stay unknown: %s', async (_name, found) => {
    const { cache, labels, asked } = aWorld(found);
    cache.replace([]);
    await labels.prepare('new');
    expect(labels.of('new')).toBeUndefined();
    await labels.prepare('new');
    expect(asked).toHaveLength(2);
  });

  test('are not asked for one by one before the first list', () => {
    const { labels, asked } = aWorld([]);
    expect([labels.prepare('a'), asked]).toEqual([undefined, []]);
  });

  test('a flood of new namespaces does not stay in memory', async () => {
    const { cache, labels } = aWorld([aNamespace('x', { a: 'b' })]);
    cache.replace([]);
    for (let i = 0; i < 300; i++) await labels.prepare(`n${i}`);
    const kept = Array.from({ length: 300 }, (_, i) => labels.of(`n${i}`)).filter((known) => known !== undefined);
    expect(kept).toHaveLength(256);
    expect(labels.of('n299')).toEqual({ a: 'b' });
  });

  test('nothing but names and labels is kept of a namespace', () => {
    const whole = { ...aNamespace('a', { b: 'c' }), spec: { finalizers: ['kubernetes'] }, apiVersion: 'v1' };
    whole.metadata.annotations = { long: 'story' };
    expect(namespaceFacts(whole)).toEqual(aNamespace('a', { b: 'c' }));
  });
});
