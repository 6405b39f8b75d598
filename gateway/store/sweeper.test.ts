// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import type { FakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { seededRandom } from '#base/random.ts';
import type { SweepStep } from '../queue/lease-queue.ts';
import { createSweeper } from './sweeper.ts';
import type { Sweeper } from './sweeper.ts';

/** The queue's promise about keys: offered once, again after a while unless forgotten. */
const REOFFER_MS = 60_000;

class FakeQueue {
  readonly due = new Map<string, number>();
  readonly clock: FakeClock;
  /** Steps that records without objects still take. */
  records = 0;
  sweeps = 0;
  inside = 0;
  most = 0;
  failNext: 'sweep' | 'forget' | undefined;

  constructor(clock: FakeClock, keys: readonly string[]) {
    this.clock = clock;
    for (const key of keys) this.due.set(key, 0);
  }

  async sweep(limit: number): Promise<SweepStep> {
    this.sweeps++;
    this.most = Math.max(this.most, ++this.inside);
    await Promise.resolve();
    this.inside--;
    this.fail('sweep');
    const now = this.clock.now();
    const keys = [...this.due].filter(([, at]) => at <= now).slice(0, limit);
    for (const [key] of keys) this.due.set(key, now + REOFFER_MS);
    if (this.records > 0) this.records--;
    return { keys: keys.map(([key]) => key), more: keys.length === limit || this.records > 0 };
  }

  async forget(keys: readonly string[]): Promise<void> {
    this.fail('forget');
    for (const key of keys) this.due.delete(key);
  }

  private fail(what: 'sweep' | 'forget'): void {
    if (this.failNext !== what) return;
    this.failNext = undefined;
    throw new Error(`${what} failed`);
  }
}

class FakeStore {
  readonly objects: Set<string>;
  calls: number[] = [];
  failures = 0;

  constructor(keys: readonly string[]) {
    this.objects = new Set(keys);
  }

  async delete(keys: readonly string[]): Promise<void> {
    if (this.failures > 0) {
      this.failures--;
      throw new Error('the store is away');
    }
    this.calls.push(keys.length);
    for (const key of keys) this.objects.delete(key);
  }
}

const names = (n: number): string[] => Array.from({ length: n }, (_, i) => `v1/app/bodies/${i}`);

function setUp(keys: readonly string[]) {
  const clock = createFakeClock();
  const queue = new FakeQueue(clock, keys);
  const store = new FakeStore([...keys, 'v1/app/bodies/kept']);
  const registry = createRegistry('test', false);
  const create = (): Sweeper =>
    createSweeper({
      queue,
      store,
      clock,
      random: seededRandom(1),
      logger: silentLogger,
      registry: createRegistry('test', false),
    });
  const sweeper = createSweeper({ queue, store, clock, random: seededRandom(1), logger: silentLogger, registry });
  return { clock, queue, store, registry, sweeper, create };
}

describe('sweeper', () => {
  it('deletes what the queue names, in bounded steps, forgets it, and leaves the rest', async () => {
    const { sweeper, queue, store, registry } = setUp(names(1203));
    expect(await sweeper.run()).toBe(1203);
    expect([...store.objects]).toEqual(['v1/app/bodies/kept']);
    expect(store.calls).toEqual([500, 500, 203]);
    expect(queue.due.size).toBe(0);
    const metrics = await registry.metrics();
    expect(metrics).toMatch(/penstock_sweep_objects_total\{[^}]*\} 1203/);
    expect(metrics).toMatch(/penstock_sweep_runs_total\{outcome="ok"[^}]*\} 1/);
  });

  it('goes on while records without objects are due, though they yield no key', async () => {
    const { sweeper, queue } = setUp([]);
    queue.records = 30;
    expect(await sweeper.run()).toBe(0);
    expect([queue.sweeps, queue.records]).toEqual([30, 0]);
    queue.records = 100;
    await sweeper.run();
    expect(queue.records).toBe(60);
  });

  it('one run is bounded; the next goes on', async () => {
    const { sweeper, store } = setUp(names(25_000));
    expect(await sweeper.run()).toBe(20_000);
    expect(await sweeper.run()).toBe(5000);
    expect(store.objects.size).toBe(1);
  });

  it('a process that dies between delete and forget leaves the keys to the next one', async () => {
    const { sweeper, create, queue, store, clock } = setUp(names(10));
    queue.failNext = 'forget';
    await expect(sweeper.run()).rejects.toThrow('forget failed');
    expect([store.objects.size, queue.due.size]).toEqual([1, 10]);
    const next = create();
    expect(await next.run()).toBe(0);
    await clock.advance(REOFFER_MS);
    expect(await next.run()).toBe(10);
    expect(queue.due.size).toBe(0);
  });

  it('a store that is away keeps the keys: nothing is forgotten that may still be there', async () => {
    const { sweeper, queue, store, clock } = setUp(names(10));
    store.failures = 1;
    await expect(sweeper.run()).rejects.toThrow('the store is away');
    expect([store.objects.size, queue.due.size]).toEqual([11, 10]);
    await clock.advance(REOFFER_MS);
    expect(await sweeper.run()).toBe(10);
    expect(store.objects.size).toBe(1);
  });

  it('an unsafe key never reaches the store and does not come back', async () => {
    const { sweeper, queue, store } = setUp(['../../etc/passwd', ...names(3)]);
    await sweeper.run();
    expect(store.calls).toEqual([3]);
    expect(queue.due.size).toBe(0);
  });

  it('runs on its timer, never twice at once, until it is stopped', async () => {
    const { sweeper, queue, store, clock } = setUp(names(3));
    sweeper.start();
    sweeper.start();
    await clock.advance(0);
    expect(store.objects.size).toBe(1);
    queue.due.set('v1/app/bodies/late', 0);
    store.objects.add('v1/app/bodies/late');
    await clock.advance(5000);
    expect(store.objects.size).toBe(1);
    expect(queue.most).toBe(1);
    await sweeper.stop();
    const { sweeps } = queue;
    await clock.advance(60_000);
    expect([queue.sweeps, clock.sleepers()]).toEqual([sweeps, 0]);
  });

  it('after errors it waits longer and longer, then goes on at its usual pace', async () => {
    const { sweeper, queue, store, clock } = setUp(names(1));
    store.failures = 1000;
    sweeper.start();
    await clock.advance(20 * 60_000);
    // Offered again every minute; in between the empty answers count as runs that worked.
    expect(queue.sweeps).toBeGreaterThan(20);
    store.failures = 0;
    await clock.advance(3 * 60_000);
    expect(queue.due.size).toBe(0);
    queue.failNext = 'sweep';
    const before = queue.sweeps;
    await clock.advance(10_000);
    expect(queue.sweeps).toBeGreaterThan(before + 1);
    await sweeper.stop();
  });

  it('a queue that is away is asked ever more rarely', async () => {
    const { clock, store, sweeper, queue } = setUp([]);
    const asked: number[] = [];
    queue.sweep = async () => {
      asked.push(clock.now());
      throw new Error('the queue is away');
    };
    sweeper.start();
    await clock.advance(30 * 60_000);
    await sweeper.stop();
    const gaps = asked.slice(1).map((at, i) => at - (asked[i] ?? 0));
    expect(gaps[0]).toBeLessThanOrEqual(1000);
    expect(gaps.every((gap) => gap <= 60_000)).toBe(true);
    expect(Math.min(...gaps.slice(7))).toBeGreaterThanOrEqual(30_000);
    expect(store.calls).toEqual([]);
  });

  it('stop waits for the step under way', async () => {
    const { clock, sweeper, store } = setUp(names(600));
    const gate = Promise.withResolvers<void>();
    const remove = store.delete.bind(store);
    store.delete = async (keys) => {
      await gate.promise;
      await remove(keys);
    };
    sweeper.start();
    await clock.advance(0);
    let stopped = false;
    const stopping = sweeper.stop().then(() => (stopped = true));
    await clock.advance(1000);
    expect(stopped).toBe(false);
    gate.resolve();
    await stopping;
    expect(store.calls).toEqual([500]);
  });
});
