// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import type { FakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { createController } from './controller.ts';
import type { Controller, Reconcile } from './controller.ts';
import { KubeError, TerminalError } from './errors.ts';
import { createKubeMetrics } from './kube-metrics.ts';
import type { KubeMetrics } from './kube-metrics.ts';

interface World {
  readonly clock: FakeClock;
  readonly metrics: KubeMetrics;
  readonly controller: Controller;
  readonly runs: [number, string][];
}

function aWorld(reconcile: Reconcile, workers = 2): World {
  const clock = createFakeClock();
  const metrics = createKubeMetrics(createRegistry('test', false));
  const runs: [number, string][] = [];
  const noted: Reconcile = (key, signal) => {
    runs.push([clock.monotonic(), key]);
    return reconcile(key, signal);
  };
  const controller = createController({
    name: 'test',
    reconcile: noted,
    workers,
    clock,
    logger: silentLogger,
    metrics,
    drainMs: 1_000,
  });
  return { clock, metrics, controller, runs };
}

const timesOf = ({ runs }: World): number[] => runs.map(([time]) => time);

describe('controller', () => {
  test('runs keys that were enqueued before the start, at most as many at once as it has workers', async () => {
    let running = 0;
    let most = 0;
    const world = aWorld(async () => {
      most = Math.max(most, ++running);
      await world.clock.sleep(10);
      running -= 1;
    });
    for (const key of ['a', 'b', 'c', 'd', 'e']) world.controller.enqueue(key);
    world.controller.start();
    await world.clock.advance(100);
    expect(world.runs.map(([, key]) => key)).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(most).toBe(2);
    await world.controller.stop();
  });

  test('a key that changes while it runs is run once more, never twice at once', async () => {
    let running = 0;
    const world = aWorld(async () => {
      expect(++running).toBe(1);
      await world.clock.sleep(10);
      running -= 1;
    });
    world.controller.start();
    world.controller.enqueue('a');
    await world.clock.advance(5);
    for (let i = 0; i < 10; i++) world.controller.enqueue('a');
    await world.clock.advance(100);
    expect(timesOf(world)).toEqual([0, 10]);
    await world.controller.stop();
  });

  test('throwing retries with a growing delay, success starts it anew', async () => {
    let left = 3;
    const world = aWorld(async () => {
      if (left-- > 0) throw new Error('not yet');
    });
    world.controller.start();
    world.controller.enqueue('a');
    await world.clock.advance(1_000);
    expect(timesOf(world)).toEqual([0, 5, 15, 35]);
    left = 1;
    world.controller.enqueue('a');
    await world.clock.advance(1_000);
    expect(timesOf(world).slice(4)).toEqual([1_000, 1_005]);
    await world.controller.stop();
  });

  test('a reconcile that throws before its first await is a failed one like any other', async () => {
    let calls = 0;
    const world = aWorld(() => {
      calls += 1;
      throw new Error('at once');
    });
    world.controller.start();
    world.controller.enqueue('a');
    await world.clock.advance(20);
    expect(calls).toBe(3);
    await world.controller.stop();
  });

  test('waits at least as long as the server asked', async () => {
    let first = true;
    const world = aWorld(async () => {
      if (!first) return;
      first = false;
      throw new KubeError('busy', { status: 429, reason: 'TooManyRequests', retryAfterMs: 3_000 });
    });
    world.controller.start();
    world.controller.enqueue('a');
    await world.clock.advance(10_000);
    expect(timesOf(world)).toEqual([0, 3_000]);
    await world.controller.stop();
  });

  test('a terminal error is counted and not retried', async () => {
    const world = aWorld(async () => {
      throw new TerminalError('never');
    });
    world.controller.start();
    world.controller.enqueue('a');
    await world.clock.advance(100_000);
    expect(world.runs).toHaveLength(1);
    const { values } = await world.metrics.reconciles.get();
    expect(values.find(({ labels }) => labels.result === 'terminal')?.value).toBe(1);
    await world.controller.stop();
  });

  test('requeueAfterMs comes back then; an event before it comes at once', async () => {
    const world = aWorld(async () => ({ requeueAfterMs: 1_000 }));
    world.controller.start();
    world.controller.enqueue('a');
    await world.clock.advance(2_500);
    expect(timesOf(world)).toEqual([0, 1_000, 2_000]);
    world.controller.enqueue('a');
    await world.clock.advance(0);
    expect(timesOf(world).at(-1)).toBe(2_500);
    await world.controller.stop();
  });

  test('stop lets a running reconcile end, drops what is queued, and takes nothing more', async () => {
    const world = aWorld(() => world.clock.sleep(500), 1);
    world.controller.start();
    world.controller.enqueue('a');
    world.controller.enqueue('b');
    await world.clock.advance(100);
    let stopped = false;
    const stop = world.controller.stop().then(() => (stopped = true));
    world.controller.enqueue('c');
    await world.clock.advance(300);
    expect(stopped).toBe(false);
    await world.clock.advance(100);
    await stop;
    expect(world.runs.map(([, key]) => key)).toEqual(['a']);
    expect(world.clock.sleepers()).toBe(0);
  });

  test('stop aborts a reconcile that takes too long', async () => {
    const world = aWorld((_key, signal) => world.clock.sleep(3_600_000, signal));
    world.controller.start();
    world.controller.enqueue('a');
    await world.clock.advance(100);
    const stop = world.controller.stop();
    await world.clock.advance(1_000);
    await stop;
    expect(world.clock.sleepers()).toBe(0);
  });

  test('stop before start is an end, too', async () => {
    const world = aWorld(async () => {});
    world.controller.enqueue('a');
    await world.controller.stop();
    world.controller.start();
    await world.clock.advance(100);
    expect(world.runs).toEqual([]);
  });
});
