// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import type { ServedApp } from '../apps/app-source.ts';
import type { QueueEvent } from '../queue/lease-queue.ts';
import { createLeaseWaiters } from './lease-waiters.ts';
import type { LeaseWaiters } from './lease-waiters.ts';

const never = new AbortController().signal;
const LONG_MS = 60_000;

function make(recheckMs?: number): {
  waiters: LeaseWaiters;
  ready: (app?: string) => void;
  change: (app: string) => void;
} {
  const served = new Map<string, ServedApp>();
  let onEvent: (event: QueueEvent) => void = () => {};
  let onChange: () => void = () => {};
  const waiters = createLeaseWaiters(
    {
      subscribe: (listener) => {
        onEvent = listener;
        return () => {};
      },
    },
    {
      byUid: (uid) => served.get(uid),
      onChange: (listener) => {
        onChange = listener;
        return () => {};
      },
    },
    recheckMs,
  );
  return {
    waiters,
    ready: (app = 'a') => onEvent({ type: 'ready', app }),
    change: (app) => {
      served.set(app, { uid: app } as ServedApp);
      onChange();
    },
  };
}

/** Parks, and notes its name when woken. */
function park(waiters: LeaseWaiters, woken: string[], name: string, revision = 'r1', gone = never): Promise<void> {
  const seat = waiters.enter('a', name, revision, ['online']);
  return seat.park(LONG_MS, gone).then(() => {
    woken.push(name);
    seat.leave();
  });
}

test('one request wakes the unit that has waited longest, and no other', async () => {
  const { waiters, ready } = make();
  const woken: string[] = [];
  const all = ['first', 'second', 'third'].map((name) => park(waiters, woken, name));
  ready();
  await all[0];
  expect([woken, waiters.count()]).toEqual([['first'], 2]);
  waiters.stop();
  await Promise.all(all);
});

test('one request wakes one unit of each revision, since only one of them may be able to take it', async () => {
  const { waiters, ready } = make();
  const woken: string[] = [];
  const all = [park(waiters, woken, 'old', 'r1'), park(waiters, woken, 'new', 'r2')];
  ready();
  await Promise.all(all);
  expect(woken.toSorted()).toEqual(['new', 'old']);
});

test('a unit that was filled passes on to two more', async () => {
  const { waiters } = make();
  const woken: string[] = [];
  const all = ['first', 'second', 'third'].map((name) => park(waiters, woken, name));
  const filled = waiters.enter('a', 'unit', 'r1', ['online']);
  filled.passOn();
  await Promise.all(all.slice(0, 2));
  expect([woken, waiters.count()]).toEqual([['first', 'second'], 1]);
  waiters.stop();
  await Promise.all(all);
});

test('a wake-up between the question to the queue and the wait is not lost', () => {
  const { waiters, ready } = make();
  const seat = waiters.enter('a', 'unit', 'r1', ['online']);
  const before = seat.generation();
  ready();
  expect(seat.generation()).not.toBe(before);
});

test('a unit that hangs up is not woken for a request; the next one is', async () => {
  const { waiters, ready } = make();
  const woken: string[] = [];
  const gone = new AbortController();
  const first = park(waiters, woken, 'gone', 'r1', gone.signal);
  const second = park(waiters, woken, 'there');
  gone.abort();
  await first;
  ready();
  await second;
  expect(woken).toEqual(['gone', 'there']);
});

test('a change of the app wakes everyone, one of another app nobody', async () => {
  const { waiters, ready, change } = make();
  const woken: string[] = [];
  const all = ['first', 'second'].map((name) => park(waiters, woken, name));
  ready('b');
  change('b');
  expect(waiters.count()).toBe(2);
  change('a');
  await Promise.all(all);
  expect(waiters.count()).toBe(0);
});

test('a unit that has settled a lease asks again itself, and nobody else does', async () => {
  const { waiters } = make();
  const woken: string[] = [];
  const all = ['first', 'second'].map((name) => park(waiters, woken, name));
  waiters.settled('a', 'second');
  await all[1];
  expect([woken, waiters.count()]).toEqual([['second'], 1]);
  waiters.stop();
  await Promise.all(all);
});

test('a unit that holds something hands on what may be for others', async () => {
  const { waiters } = make();
  const woken: string[] = [];
  const all = ['first', 'second'].map((name) => park(waiters, woken, name));
  waiters.enter('a', 'busy', 'r1', ['online']).handOn();
  await all[0];
  expect([woken, waiters.count()]).toEqual([['first'], 1]);
  waiters.stop();
  await Promise.all(all);
});

test('without any message one unit of each group looks again, in turn, while the others stay parked', async () => {
  const { waiters } = make(20);
  const looked: string[] = [];
  const waiting = ['first', 'second', 'third'].map(async (name) => {
    const seat = waiters.enter('a', name, 'r1', ['online']);
    for (;;) {
      const why = await seat.park(LONG_MS, never);
      if (why !== 'recheck') return why;
      looked.push(name);
      if (looked.length === 6) waiters.stop();
    }
  });
  expect(await Promise.all(waiting)).toEqual(['stop', 'stop', 'stop']);
  expect(looked).toEqual(['first', 'second', 'third', 'first', 'second', 'third']);
});

test('a wait says what ended it', async () => {
  const { waiters, ready, change } = make();
  const seat = waiters.enter('a', 'unit', 'r1', ['online']);
  const gone = new AbortController();
  const causes: [string, () => void][] = [
    ['event', ready],
    ['passed', () => waiters.enter('a', 'other', 'r1', ['online']).passOn()],
    ['settled', () => waiters.settled('a', 'unit')],
    ['app', () => change('a')],
    ['gone', () => gone.abort()],
  ];
  for (const [why, cause] of causes) {
    const waiting = seat.park(LONG_MS, gone.signal);
    cause();
    expect(await waiting).toBe(why);
  }
  expect(await seat.park(0, never)).toBe('time');
  waiters.stop();
  expect(await seat.park(LONG_MS, never)).toBe('stop');
});
