// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { silentLogger } from '#base/logger.ts';
import type { LogFields, Logger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { ObjectCache } from '#kube/cache.ts';
import type { EventInput } from '#kube/events.ts';
import { createKubeMetrics } from '#kube/kube-metrics.ts';
import { createPolicyStore } from './policy-store.ts';
import type { PolicyConfigMap, PolicyStore } from './policy-store.ts';

const GOOD = 'version: 1\nrules: [{ name: a, action: slice }]';
const BETTER = 'version: 1\nrules: [{ name: a, action: slice }, { name: b, action: ignore }]';
const BROKEN = 'version: 1\nrules: [{ name: a, action: slice, ration: 2 }]';

interface World {
  readonly store: PolicyStore;
  readonly cache: ObjectCache<PolicyConfigMap>;
  readonly events: EventInput[];
  readonly errors: LogFields[];
  readonly changes: number[];
  edit(text: string | undefined): void;
  metric(name: string): Promise<Record<string, number>>;
}

function aConfigMap(text: string | undefined, resourceVersion: string, key = 'policy.yaml'): PolicyConfigMap {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { namespace: 'penstock-system', name: 'penstock-slicing', uid: 'u', resourceVersion },
    ...(text === undefined ? {} : { data: { [key]: text } }),
  };
}

function aWorld(): World {
  const registry = createRegistry('test', false);
  const cache = new ObjectCache<PolicyConfigMap>({
    name: 'configmaps',
    logger: silentLogger,
    metrics: createKubeMetrics(registry),
  });
  const events: EventInput[] = [];
  const errors: LogFields[] = [];
  const logger: Logger = { ...silentLogger, error: (fields) => void errors.push(fields) };
  const store = createPolicyStore({
    configMaps: cache,
    events: { record: (event) => void events.push(event) },
    logger,
    registry,
  });
  const changes: number[] = [];
  store.onChange(() => changes.push(store.current().rules.length));
  let version = 0;
  return {
    store,
    cache,
    events,
    errors,
    changes,
    edit: (text) => cache.put(aConfigMap(text, String(++version))),
    metric: async (name) => {
      const found = await registry.getSingleMetric(name)?.get();
      return Object.fromEntries((found?.values ?? []).map(({ labels, value }) => [labels['result'] ?? '', value]));
    },
  };
}

const names = ({ store }: World): string[] => store.current().rules.map(({ decision }) => decision.rule);

describe('the policy in force', () => {
  test('is known to be none after a list without the ConfigMap', () => {
    const world = aWorld();
    expect(world.store.synced()).toBe(false);
    world.cache.replace([]);
    expect([world.store.synced(), names(world)]).toEqual([true, []]);
  });

  test('follows the document', async () => {
    const world = aWorld();
    world.edit(GOOD);
    expect(names(world)).toEqual(['a']);
    world.edit(BETTER);
    expect(names(world)).toEqual(['a', 'b']);
    expect([world.changes, world.events]).toEqual([[1, 2], []]);
    expect(await world.metric('penstock_webhook_policy_reloads_total')).toEqual({ loaded: 2, refused: 0, removed: 0 });
    expect(await world.metric('penstock_webhook_policy_rules')).toEqual({ '': 2 });
  });

  test('stays through a broken edit, of which Event, log and metric tell with field and fix', async () => {
    const world = aWorld();
    world.edit(GOOD);
    world.edit(BROKEN);
    expect(names(world)).toEqual(['a']);
    expect(world.errors).toEqual([
      expect.objectContaining({ field: 'rules[0]', problem: 'unknown field "ration"', fix: 'did you mean ratio?' }),
    ]);
    expect(world.events).toEqual([
      expect.objectContaining({
        type: 'Warning',
        reason: 'PolicyRefused',
        note: 'rules[0]: unknown field "ration"; did you mean ratio?; the last good document stays in force',
        regarding: expect.objectContaining({ kind: 'ConfigMap' }),
      }),
    ]);
    expect(await world.metric('penstock_webhook_policy_last_reload_success')).toEqual({ '': 0 });
    expect(world.changes).toEqual([1]);
  });

  test('is mended by the next good edit, which is told as well', async () => {
    const world = aWorld();
    world.edit(BROKEN);
    expect(names(world)).toEqual([]);
    expect(world.events[0]?.note).toContain('no pod is sliced until there is a good one');
    world.edit(GOOD);
    expect(names(world)).toEqual(['a']);
    expect(world.events.map(({ reason }) => reason)).toEqual(['PolicyRefused', 'PolicyAccepted']);
    expect(await world.metric('penstock_webhook_policy_last_reload_success')).toEqual({ '': 1 });
  });

  test('is not known to a process that has read no good document: something else than none', () => {
    const world = aWorld();
    world.cache.replace([aConfigMap(BROKEN, '0')]);
    expect([world.store.synced(), world.store.unread()]).toEqual([false, true]);
    world.edit(GOOD);
    expect([world.store.synced(), world.store.unread()]).toEqual([true, false]);
    world.edit(BROKEN);
    expect([world.store.synced(), world.store.unread(), names(world)]).toEqual([true, false, ['a']]);
    world.cache.replace([]);
    expect([world.store.synced(), world.store.unread(), names(world)]).toEqual([true, false, []]);
    world.edit(BROKEN);
    expect([world.store.synced(), world.store.unread()]).toEqual([false, true]);
    world.cache.replace([]);
    expect([world.store.synced(), world.store.unread()]).toEqual([true, false]);
  });

  test('is none once the ConfigMap is deleted', async () => {
    const world = aWorld();
    world.edit(GOOD);
    world.cache.replace([]);
    expect(names(world)).toEqual([]);
    expect(world.changes).toEqual([1, 0]);
    expect(await world.metric('penstock_webhook_policy_reloads_total')).toMatchObject({ removed: 1 });
  });

  test('is looked at only when the text changed: metadata is written by others', () => {
    const world = aWorld();
    world.edit(BROKEN);
    world.edit(BROKEN);
    world.edit(undefined);
    world.edit(undefined);
    expect(world.errors.map(({ field }) => field)).toEqual(['rules[0]', 'data']);
    expect(world.events[1]?.note).toContain('put the document under policy.yaml');
  });

  test('a listener that left hears nothing, and a stopped store follows nothing', () => {
    const world = aWorld();
    let heard = 0;
    const off = world.store.onChange(() => heard++);
    world.edit(GOOD);
    off();
    world.edit(BETTER);
    world.store.stop();
    world.edit(GOOD);
    expect([heard, names(world)]).toEqual([1, ['a', 'b']]);
  });
});
