// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { createFakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { seededRandom } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import type { ServedApp } from './apps/app-source.ts';
import { createOrphanSweep } from './orphan-objects.ts';
import type { OrphanSweepOptions } from './orphan-objects.ts';
import type { RequestRecord } from './queue/lease-queue.ts';
import { bodyKey, generationKey, resultKey } from './store/keys.ts';
import type { ListedObject } from './store/object-store.ts';

const NOW = 10_000_000_000_000;
const HOUR_MS = 3_600_000;
const NONCE = '0123456789abcdef';
const random = seededRandom(1);

/** Id of a request that was made so long ago. */
const idOf = (age: number): string => uuid7({ ...systemClock, now: () => NOW - age }, random);
const [OLD, YOUNG] = [2 * HOUR_MS, HOUR_MS / 2];

class World {
  /** Keys and their age. */
  readonly objects = new Map<string, number>();
  /** By `uid/id`. */
  readonly records = new Map<string, Partial<RequestRecord>>();
  readonly closed = new Set<string>();
  /** Apps whose queue has lost records. */
  readonly lost = new Set<string>();
  down = false;
  asked = 0;
  readonly options: OrphanSweepOptions;

  constructor(known: readonly string[], clock = { ...systemClock, now: () => NOW }) {
    this.options = {
      queue: {
        get: async (app, id) => {
          this.asked++;
          if (this.down) throw new Error('down');
          return this.records.get(`${app}/${id}`) as RequestRecord | undefined;
        },
        remains: async (app) => ({ closed: this.closed.has(app), sweptUpTo: 0 }),
      },
      store: {
        list: async (prefix, { cursor = '', limit = 1000 } = {}) => {
          const keys = [...this.objects.keys()].filter((key) => key.startsWith(prefix) && key > cursor).toSorted();
          const page = keys.slice(0, limit);
          const listed = page.map((key): ListedObject => ({
            key,
            bytes: 1,
            modifiedAt: NOW - (this.objects.get(key) ?? 0),
          }));
          const last = page.at(-1);
          return { objects: listed, ...(keys.length > page.length && last !== undefined ? { cursor: last } : {}) };
        },
        delete: async (keys) => {
          for (const key of keys) this.objects.delete(key);
        },
      },
      apps: { byUid: (uid) => (known.includes(uid) ? ({ uid } as ServedApp) : undefined) },
      recovery: { trusted: async (app) => !this.lost.has(app) },
      clock,
      random: seededRandom(1),
      logger: silentLogger,
      registry: createRegistry('test', false),
    };
  }

  body(app: string, age = OLD, modified = age): string {
    const key = bodyKey(app, idOf(age));
    this.objects.set(key, modified);
    return key;
  }
}

test('a body that is old and has no request goes; young ones and named ones stay', async () => {
  const world = new World(['a']);
  world.body('a');
  const id = idOf(OLD);
  world.objects.set(bodyKey('a', id), OLD);
  world.records.set(`a/${id}`, { body: { contentType: 'a/b', bytes: 1, key: bodyKey('a', id) } });
  const kept = [bodyKey('a', id), world.body('a', YOUNG), world.body('a', OLD, YOUNG)];
  expect(await createOrphanSweep(world.options).step()).toBe(1);
  expect([...world.objects.keys()].toSorted()).toEqual(kept.toSorted());
});

test.each([
  ['of the attempt that succeeded', { epoch: 2, finishedAt: 1 }, 2, true, true],
  ['of one that lost', { epoch: 2, finishedAt: 1 }, 1, false, false],
  ['of the running attempt', { epoch: 2 }, 2, false, true],
  ['of one before the running attempt', { epoch: 2 }, 1, false, false],
  ['of the last attempt, not committed, of an ended request', { epoch: 2, finishedAt: 1 }, 2, false, false],
  ['of a request without a record', undefined, 1, false, false],
])('an old result %s', async (_what, record, epoch, committed, stays) => {
  const world = new World(['a']);
  const id = idOf(OLD);
  const key = resultKey('a', id, { epoch, nonce: NONCE });
  world.objects.set(key, OLD);
  const body = { contentType: 'a/b', bytes: 0 };
  if (record !== undefined)
    world.records.set(`a/${id}`, { ...record, body, ...(committed ? { result: { ...body, key } } : {}) });
  await createOrphanSweep(world.options).step();
  expect(world.objects.has(key)).toBe(stays);
});

test('of apps that are not known, only what the queue has closed is cleared; foreign keys stay', async () => {
  const world = new World([]);
  world.closed.add('purged');
  const gone = [world.body('purged'), world.body('purged')];
  const kept = [world.body('elsewhere'), 'v1/purged/other/x', 'v1/x'];
  for (const key of kept) world.objects.set(key, OLD);
  expect(await createOrphanSweep(world.options).step()).toBe(gone.length);
  expect([...world.objects.keys()].toSorted()).toEqual(kept.toSorted());
});

test('a body that redrives have handed on stays as long as one of the requests needs it', async () => {
  const world = new World(['a']);
  const [letter, second, heir] = [idOf(OLD), idOf(OLD), idOf(OLD)];
  const key = bodyKey('a', letter);
  world.objects.set(key, OLD);
  const gone = { contentType: 'a/b', bytes: 1 };
  world.records.set(`a/${letter}`, { body: gone, finishedAt: 1, redrivenAs: second });
  world.records.set(`a/${second}`, { body: gone, finishedAt: 2, redrivenAs: heir });
  world.records.set(`a/${heir}`, { body: { ...gone, key } });
  const sweep = createOrphanSweep(world.options);
  expect(await sweep.step()).toBe(0);
  world.records.delete(`a/${heir}`);
  expect(await sweep.step()).toBe(1);
  world.objects.set(key, OLD);
  world.records.set(`a/${second}`, { body: gone, finishedAt: 2, redrivenAs: letter });
  expect(await sweep.step()).toBe(0);
});

test('objects of an app whose queue has lost records stay until it is recovered; those of others go', async () => {
  const world = new World(['a', 'b']);
  world.lost.add('a');
  const kept = world.body('a');
  world.body('b');
  const sweep = createOrphanSweep(world.options);
  expect(await sweep.step()).toBe(1);
  expect([...world.objects.keys()]).toEqual([kept]);
  world.lost.delete('a');
  expect(await sweep.step()).toBe(1);
});

test('an entry of the mirror that a purge has missed goes; of apps that are known or somebody else’s it stays', async () => {
  const world = new World(['a']);
  world.closed.add('purged').add('just');
  for (const app of ['a', 'purged', 'elsewhere']) world.objects.set(generationKey(app), OLD);
  world.objects.set(generationKey('just'), YOUNG);
  expect(await createOrphanSweep(world.options).step()).toBe(1);
  expect([...world.objects.keys()]).toEqual(['a', 'elsewhere', 'just'].map(generationKey));
});

test('a walk goes page by page over all apps, then starts anew', async () => {
  const world = new World(['a', 'b']);
  for (let i = 0; i < 1050; i++) world.body('a');
  world.body('b');
  const sweep = createOrphanSweep(world.options);
  const counts = [];
  for (let i = 0; i < 3; i++) counts.push(await sweep.step());
  expect(counts).toEqual([500, 500, 51]);
  world.body('a');
  expect(await sweep.step()).toBe(1);
});

test('nothing goes while the queue cannot say, and the walk stays where it is', async () => {
  const world = new World(['a']);
  world.body('a');
  world.down = true;
  const sweep = createOrphanSweep(world.options);
  await expect(sweep.step()).rejects.toThrow('down');
  expect(world.objects.size).toBe(1);
  world.down = false;
  expect(await sweep.step()).toBe(1);
});

test('it walks slowly, but at once on where it finds much, and stops when told', async () => {
  const clock = createFakeClock(NOW);
  const world = new World(['a'], clock);
  for (let i = 0; i < 1700; i++) world.body('a');
  const sweep = createOrphanSweep(world.options);
  sweep.start();
  await clock.advance(29_000);
  expect(world.objects.size).toBe(1700);
  await clock.advance(61_000 + 10_000);
  expect(world.objects.size).toBe(0);
  const { asked } = world;
  await sweep.stop();
  world.body('a');
  await clock.advance(10 * 60_000);
  expect([world.asked, world.objects.size]).toEqual([asked, 1]);
});
