// SPDX-License-Identifier: Apache-2.0
import { expect, test, vi } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { ProblemError } from '#base/problem.ts';
import { OVERLOAD_LIMITS } from './limits.ts';
import { watchLoopDelay } from './loop-delay.ts';
import { createOverload } from './overload.ts';
import type { LoadMeasure } from './overload.ts';
import { createQueueLatency } from './queue-latency.ts';

const { loopEnterMs, loopLeaveMs, queueEnterMs, queueLeaveMs, probeMs } = OVERLOAD_LIMITS;

function subject(fraction = 0) {
  const clock = createFakeClock();
  const load = { lasting: 0, latest: 0, queue: 0 };
  const measure: LoadMeasure = {
    loopDelay: () => ({ lasting: load.lasting, latest: load.latest }),
    queueLatency: () => load.queue,
  };
  const registry = createRegistry('gateway', false);
  const random = { fraction: () => fraction };
  const overload = createOverload({ measure, clock, random, logger: silentLogger, registry });
  const admitted = (): boolean => {
    try {
      overload.admit();
      return true;
    } catch (err) {
      if (err instanceof ProblemError && err.status === 503 && err.code === 'overloaded') return false;
      throw err;
    }
  };
  return { clock, load, registry, overload, admitted };
}

test('a loop that lags lastingly sheds until its lag is small again, not in between', () => {
  const { load, admitted } = subject();
  Object.assign(load, { lasting: loopEnterMs - 1, latest: 10 * loopEnterMs });
  expect(admitted()).toBe(true);
  Object.assign(load, { lasting: loopEnterMs, latest: loopEnterMs });
  expect(admitted()).toBe(false);
  Object.assign(load, { lasting: 0, latest: loopLeaveMs + 1 });
  expect(admitted()).toBe(false);
  Object.assign(load, { lasting: 0, latest: loopLeaveMs });
  expect(admitted()).toBe(true);
});

test('a slow queue sheds, but one request in a while is let through to find out', async () => {
  const { clock, load, admitted } = subject();
  load.queue = queueEnterMs;
  expect([admitted(), admitted(), admitted()]).toEqual([true, false, false]);
  await clock.advance(probeMs);
  expect([admitted(), admitted()]).toEqual([true, false]);
  load.queue = queueLeaveMs + 1;
  expect(admitted()).toBe(false);
  load.queue = queueLeaveMs;
  expect([admitted(), admitted()]).toEqual([true, true]);
});

test.each([
  [0, '1'],
  [0.999, '4'],
])('those sent away come back spread over some seconds (%d)', (fraction, seconds) => {
  const { load, overload } = subject(fraction);
  load.lasting = loopEnterMs;
  expect(() => overload.admit()).toThrow(expect.objectContaining({ headers: { 'retry-after': seconds } }) as Error);
});

test('what was shed is counted by its signal, and the measures are shown', async () => {
  const { load, registry, admitted } = subject();
  Object.assign(load, { lasting: loopEnterMs, latest: 1_500, queue: 250 });
  admitted();
  const text = await registry.metrics();
  expect(text).toMatch(/shed_total\{signal="event-loop",[^}]*\} 1\n/);
  expect(text).toMatch(/load_seconds\{signal="event-loop",[^}]*\} 1.5\n/);
  expect(text).toMatch(/load_seconds\{signal="queue",[^}]*\} 0.25\n/);
});

test('the queue’s latency is smoothed over calls, failed ones too, and forgotten when there are none', async () => {
  const clock = createFakeClock();
  const latency = createQueueLatency(clock);
  const call = async (ms: number, fails = false): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const done = latency.timed(() => promise).catch(() => {});
    await clock.advance(ms);
    if (fails) reject(new Error('down'));
    else resolve();
    await done;
  };
  await call(100);
  expect(latency.current()).toBe(100);
  await call(600);
  expect(latency.current()).toBeCloseTo(200);
  await call(700, true);
  expect(latency.current()).toBeCloseTo(300);
  await clock.advance(5_001);
  expect(latency.current()).toBe(0);
});

test('a call that does not end counts by its age', async () => {
  const clock = createFakeClock();
  const latency = createQueueLatency(clock);
  const stuck = Promise.withResolvers<void>();
  const done = latency.timed(() => stuck.promise);
  await clock.advance(3_000);
  expect(latency.current()).toBe(3_000);
  stuck.resolve();
  await done;
  expect(latency.current()).toBe(3_000);
});

/** Holds the thread, as a long computation would. */
function hold(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

const turn = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test(
  'a real loop that is held again and again lags lastingly; a single block does not',
  { timeout: 60_000 },
  async () => {
    const delay = watchLoopDelay(20);
    try {
      await turn(1);
      hold(1_000);
      await vi.waitUntil(() => delay.latest() > 0 && delay.latest() < 900, { timeout: 50_000 });
      expect(delay.lasting()).toBeLessThan(900);
      // Each hold outlasts a sample by far, and no sample falls between two.
      for (let i = 0; i < 10; i++) {
        hold(150);
        await turn(0);
      }
      expect(delay.lasting()).toBeGreaterThan(100);
    } finally {
      delay.stop();
    }
  },
);
