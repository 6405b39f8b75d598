// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { RECHECK_MS } from '../limits.ts';
import type { QueueEvent } from '../queue/lease-queue.ts';
import type { RequestOutcome, ToldOutcome } from '../queue/request-outcome.ts';
import { createWaits } from './waits.ts';
import type { Gone, WokenBy } from './waits.ts';

const APP = 'app';
const ID = '0190c0de-0000-7000-8000-000000000001';
const WAIT_MS = 20_000;
const outcome = (state: RequestOutcome['state']): RequestOutcome => ({
  id: ID,
  app: APP,
  state,
  attempts: [],
  deadLetter: false,
});
const TOLD: ToldOutcome = { ...outcome('succeeded'), attempts: { length: 1 } };
const stays: Gone = () => () => {};

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A queue whose only request is in the state that the test sets. */
function setUp() {
  const listeners: ((event: QueueEvent) => void)[] = [];
  const now = { state: 'leased' as RequestOutcome['state'] };
  let looks = 0;
  const woken: WokenBy[] = [];
  const queue = {
    subscribe: (listener: (event: QueueEvent) => void) => {
      listeners.push(listener);
      return () => {};
    },
    outcome: (): Promise<RequestOutcome> => {
      looks += 1;
      return Promise.resolve(outcome(now.state));
    },
  };
  const waits = createWaits(queue, systemClock, (by) => woken.push(by));
  const done = (): void => listeners.forEach((listener) => listener({ type: 'done', app: APP, id: ID }));
  const wait = (): Promise<ToldOutcome | undefined> =>
    waits.watch(APP, ID)?.untilFinal(WAIT_MS, stays) ?? Promise.reject(new Error('nobody may wait'));
  return { waits, now, done, wait, looks: () => looks, woken };
}

describe('a client that waits', () => {
  it('is told by a commit of its own gateway, without a look at the queue', async () => {
    const { waits, wait, looks, woken } = setUp();
    const answer = wait();
    waits.committing([ID]).over(() => TOLD);
    expect(await answer).toBe(TOLD);
    expect([looks(), woken]).toEqual([0, ['commit']]);
  });

  it('is told by the commit also when its event comes first', async () => {
    const { waits, now, done, wait, looks } = setUp();
    const answer = wait();
    const commit = waits.committing([ID]);
    now.state = 'succeeded';
    done();
    await vi.advanceTimersByTimeAsync(10);
    expect(looks()).toBe(0);
    commit.over(() => TOLD);
    expect(await answer).toBe(TOLD);
  });

  it('is told although it began to wait while the commit was under way', async () => {
    const { waits, wait, looks } = setUp();
    const commit = waits.committing([ID]);
    const answer = wait();
    commit.over(() => TOLD);
    expect(await answer).toBe(TOLD);
    expect(looks()).toBe(0);
  });

  it.each([
    ['failed', undefined],
    ['says nothing of this request', () => undefined],
  ])('looks for itself when the commit %s and its event has come', async (_how, toldOf) => {
    const { waits, now, done, wait, looks, woken } = setUp();
    const answer = wait();
    const commit = waits.committing([ID]);
    now.state = 'cancelled';
    done();
    commit.over(toldOf);
    expect((await answer)?.state).toBe('cancelled');
    expect([looks(), woken]).toEqual([1, ['event']]);
  });

  it('is left alone by a commit that was refused: the request may be under way elsewhere', async () => {
    const { waits, now, done, wait, looks } = setUp();
    const answer = wait();
    waits.committing([ID]).over(() => undefined);
    await vi.advanceTimersByTimeAsync(10);
    expect(looks()).toBe(0);
    now.state = 'succeeded';
    done();
    expect((await answer)?.state).toBe('succeeded');
  });

  it('looks for itself at the event of another gateway’s commit, and again when the event was lost', async () => {
    const { now, done, wait, looks, woken } = setUp();
    const first = wait();
    now.state = 'succeeded';
    done();
    expect((await first)?.state).toBe('succeeded');
    const second = wait();
    await vi.advanceTimersByTimeAsync(RECHECK_MS);
    expect((await second)?.state).toBe('succeeded');
    expect([looks(), woken]).toEqual([2, ['event', 'recheck']]);
  });

  it('hears of the first of two commits of one request, and of the event that came in between', async () => {
    const { waits, now, done, wait, looks } = setUp();
    const answer = wait();
    const [first, second] = [waits.committing([ID]), waits.committing([ID])];
    first.over();
    now.state = 'succeeded';
    done();
    await vi.advanceTimersByTimeAsync(10);
    expect(looks()).toBe(0);
    second.over();
    expect((await answer)?.state).toBe('succeeded');
    expect(looks()).toBe(1);
  });
});
