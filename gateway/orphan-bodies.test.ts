// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { seededRandom } from '#base/random.ts';
import type { ServedApp } from './apps/app-source.ts';
import { createOrphanSweep } from './orphan-bodies.ts';
import type { OrphanSweep } from './orphan-bodies.ts';
import type { RequestRecord } from './queue/lease-queue.ts';
import type { ListedObject } from './store/object-store.ts';

const NOW = 10_000_000_000;
const HOUR_MS = 3_600_000;

interface World {
  /** Keys and their age. */
  readonly objects: Map<string, number>;
  /** `uid/id` of requests that the queue knows. */
  readonly known: Set<string>;
  readonly sweep: OrphanSweep;
}

function world(apps: readonly string[], queueFails = false): World {
  const objects = new Map<string, number>();
  const known = new Set<string>();
  const sweep = createOrphanSweep({
    queue: {
      get: async (app, id) => {
        if (queueFails) throw new Error('down');
        return known.has(`${app}/${id}`) ? ({ id } as RequestRecord) : undefined;
      },
    },
    store: {
      list: async (prefix, { cursor = '', limit = 1000 } = {}) => {
        const keys = [...objects.keys()].filter((key) => key.startsWith(prefix) && key > cursor).toSorted();
        const page = keys.slice(0, limit);
        const listed = page.map((key): ListedObject => ({ key, bytes: 1, modifiedAt: NOW - (objects.get(key) ?? 0) }));
        const last = page.at(-1);
        return { objects: listed, ...(keys.length > page.length && last !== undefined ? { cursor: last } : {}) };
      },
      delete: async (keys) => {
        for (const key of keys) objects.delete(key);
      },
    },
    apps: { list: () => apps.map((uid) => ({ uid }) as ServedApp) },
    clock: { ...systemClock, now: () => NOW },
    random: seededRandom(1),
    logger: silentLogger,
    registry: createRegistry('test', false),
  });
  return { objects, known, sweep };
}

test('a body that is old and has no request goes; young ones, known ones and results stay', async () => {
  const { objects, known, sweep } = world(['a']);
  objects.set('v1/a/bodies/old', 2 * HOUR_MS);
  objects.set('v1/a/bodies/known', 2 * HOUR_MS);
  objects.set('v1/a/bodies/young', HOUR_MS / 2);
  objects.set('v1/a/results/x/1.0', 2 * HOUR_MS);
  objects.set('v1/unknown-app/bodies/old', 2 * HOUR_MS);
  known.add('a/known');
  expect(await sweep.step()).toBe(1);
  expect([...objects.keys()]).toEqual([
    'v1/a/bodies/known',
    'v1/a/bodies/young',
    'v1/a/results/x/1.0',
    'v1/unknown-app/bodies/old',
  ]);
});

test('a walk goes page by page and app by app, then starts anew', async () => {
  const { objects, sweep } = world(['b', 'a']);
  for (let i = 0; i < 450; i++) objects.set(`v1/a/bodies/${String(i).padStart(4, '0')}`, 2 * HOUR_MS);
  objects.set('v1/b/bodies/one', 2 * HOUR_MS);
  const counts = [];
  for (let i = 0; i < 4; i++) counts.push(await sweep.step());
  expect(counts).toEqual([200, 200, 50, 1]);
  objects.set('v1/a/bodies/late', 2 * HOUR_MS);
  expect(await sweep.step()).toBe(1);
});

test('nothing goes while the queue cannot say', async () => {
  const { objects, sweep } = world(['a'], true);
  objects.set('v1/a/bodies/old', 2 * HOUR_MS);
  await expect(sweep.step()).rejects.toThrow('down');
  expect(objects.size).toBe(1);
});

test('without apps there is nothing to do', async () => {
  expect(await world([]).sweep.step()).toBe(0);
});
