// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { RETIRED_MEMORY_MS, UNIT_SILENT_MS } from '#gateway/queue/limits.ts';
import { LEASE_MS, T0, onFresh } from './lease-queue.harness.ts';
import type { QueueDriver, Scenario } from './lease-queue.harness.ts';

/** What every driver of the lease queue keeps: who stays, who leaves, who never comes back; work of older revisions; demand. */
export function unitSuite(driver: QueueDriver): void {
  const on = (test: (s: Scenario) => Promise<void>): (() => Promise<void>) => onFresh(driver, test);

  describe(`${driver.name}: verdicts`, () => {
    it(
      'an idle unit lingers, then leaves, and is refused ever after',
      on(async (s) => {
        expect(await s.ask('u1')).toEqual({ leases: [], verdict: 'stay', recheckAt: T0 + 10_000 });
        s.now += 9_999;
        expect(await s.ask('u1')).toEqual({ leases: [], verdict: 'stay', recheckAt: T0 + 10_000 });
        s.now += 1;
        expect(await s.ask('u1')).toEqual({ leases: [], verdict: 'leave' });
        await s.add();
        expect(await s.ask('u1')).toEqual({ leases: [], verdict: 'refused' });
      }),
    );

    it(
      'a retired unit is refused for as long as its token lives, and told of by demand only for a while',
      on(async (s) => {
        // By Redis' own time, which demand has: a unit that left two hours ago, and one that left just now.
        s.now = Date.now() - 2 * 3_600_000;
        await s.queue.retire(s.app, 'old', s.now);
        s.now = Date.now();
        await s.queue.retire(s.app, 'new', s.now);
        expect((await s.queue.demand(s.app)).units.map((one) => one.unit)).toEqual(['new']);
        s.now += 6 * 24 * 3_600_000;
        await s.queue.expire(new Map([[s.app, 'r1']]), s.now);
        expect((await s.ask('old')).verdict).toBe('refused');
        expect((await s.ask('new')).verdict).toBe('refused');
      }),
    );

    it(
      'idle time counts from the first vain ask after the last lease',
      on(async (s) => {
        await s.ask('u1');
        await s.add();
        s.now += 5_000;
        const lease = await s.take('u1');
        expect(await s.ask('u1')).toEqual({ leases: [], verdict: 'stay' });
        s.now += 20_000;
        await s.complete(lease);
        expect(await s.ask('u1')).toEqual({ leases: [], verdict: 'stay', recheckAt: s.now + 10_000 });
      }),
    );

    it(
      'of two idle units above a floor of one, exactly one leaves',
      on(async (s) => {
        const ask = (unit: string) => s.ask(unit, { floor: 1, lingerMs: 0 });
        // Both join before either may leave.
        await Promise.all([s.ask('u1', { floor: 2 }), s.ask('u2', { floor: 2 })]);
        const verdicts = (await Promise.all([ask('u1'), ask('u2')])).map((one) => one.verdict);
        expect(verdicts.sort()).toEqual(['leave', 'stay']);
        const again = (await Promise.all([ask('u1'), ask('u2')])).map((one) => one.verdict);
        expect(again.sort()).toEqual(['refused', 'stay']);
      }),
    );

    it(
      'at the floor no recheck is due; a retired unit counts no more',
      on(async (s) => {
        const ask = (unit: string) => s.ask(unit, { floor: 1, lingerMs: 100 });
        expect(await ask('u1')).toEqual({ leases: [], verdict: 'stay' });
        expect(await ask('u2')).toEqual({ leases: [], verdict: 'stay', recheckAt: T0 + 100 });
        expect(await s.queue.retire(s.app, 'u1', s.now)).toBe('retired');
        expect(await ask('u2')).toEqual({ leases: [], verdict: 'stay' });
      }),
    );

    it(
      'a unit that joins above a floor announces itself, so that another may leave',
      on(async (s) => {
        await s.ask('u1', { floor: 1, lingerMs: 0 });
        await s.ask('u2', { floor: 2, lingerMs: 0 });
        expect((await s.ask('u1', { floor: 1, lingerMs: 0 })).verdict).toBe('leave');
      }),
    );

    it(
      'a unit with a lease stays, whatever else is true',
      on(async (s) => {
        await s.add();
        await s.take('u1');
        for (const desiredState of ['Paused', 'Draining', 'Ready'] as const) {
          const answer = await s.ask('u1', { desiredState, currentRevision: 'r2', lingerMs: 0 });
          expect(answer).toEqual({ leases: [], verdict: 'stay' });
        }
      }),
    );

    it(
      'a paused app gives nothing and sends its units away',
      on(async (s) => {
        await s.add();
        expect(await s.ask('u1', { desiredState: 'Paused', floor: 5 })).toEqual({ leases: [], verdict: 'leave' });
        expect((await s.queue.demand(s.app)).queued).toBe(1);
      }),
    );

    it(
      'a draining app gives what is queued, then sends them away whatever the floor',
      on(async (s) => {
        const which = await s.add();
        const drain = { desiredState: 'Draining', floor: 5 } as const;
        const { leases } = await s.ask('u1', drain);
        expect(leases.map((one) => one.id)).toEqual([which]);
        expect((await s.ask('u1', drain)).verdict).toBe('stay');
        await s.complete(leases[0]!);
        expect((await s.ask('u1', drain)).verdict).toBe('leave');
      }),
    );

    it(
      'announcing with max 0 takes nothing and stays while work waits',
      on(async (s) => {
        await s.add();
        expect(await s.ask('u1', { max: 0, lingerMs: 0 })).toEqual({ leases: [], verdict: 'stay' });
        expect((await s.ask('u1', { max: 0, lingerMs: 0, lanes: ['batch'] })).verdict).toBe('leave');
      }),
    );
  });

  describe(`${driver.name}: retire`, () => {
    it(
      'is refused while the unit holds a live lease',
      on(async (s) => {
        await s.add();
        const lease = await s.take('u1');
        expect(await s.queue.retire(s.app, 'u1', s.now)).toBe('busy');
        expect((await s.extend(lease)).ok).toBe(true);
        await s.complete(lease);
        expect(await s.queue.retire(s.app, 'u1', s.now)).toBe('retired');
        expect(await s.queue.retire(s.app, 'u1', s.now)).toBe('retired');
      }),
    );

    it(
      'a lease that ran out does not keep a unit; its late result still counts',
      on(async (s) => {
        await s.add();
        const lease = await s.take('u1');
        s.now += LEASE_MS;
        expect(await s.queue.retire(s.app, 'u1', s.now)).toBe('retired');
        expect((await s.extend(lease)).ok).toBe(false);
        expect(await s.complete(lease)).toBe('committed');
      }),
    );

    it(
      'an unknown unit is retired before it ever asked',
      on(async (s) => {
        await s.add();
        expect(await s.queue.retire(s.app, 'u9', s.now)).toBe('retired');
        expect(await s.ask('u9')).toEqual({ leases: [], verdict: 'refused' });
      }),
    );

    it(
      'a silent unit is forgotten, a retired one remembered for longer',
      on(async (s) => {
        await s.ask('quiet', { floor: 9 });
        await s.queue.retire(s.app, 'gone', s.now);
        s.now += UNIT_SILENT_MS;
        await s.expire();
        expect((await s.queue.demand(s.app)).units.map((one) => one.unit)).toEqual(['gone']);
        expect((await s.ask('gone')).verdict).toBe('refused');
        s.now = T0 + RETIRED_MEMORY_MS;
        await s.expire();
        expect((await s.queue.demand(s.app)).units).toEqual([]);
      }),
    );

    it(
      'a forgotten unit no longer counts for the floor',
      on(async (s) => {
        await s.ask('dead', { floor: 1 });
        s.now += UNIT_SILENT_MS - 1;
        await s.ask('alive', { floor: 2, lingerMs: 0 });
        s.now += 1;
        await s.expire();
        expect((await s.ask('alive', { floor: 1, lingerMs: 0 })).verdict).toBe('stay');
      }),
    );
  });

  describe(`${driver.name}: revisions`, () => {
    it(
      'a unit leases only work of its own revision',
      on(async (s) => {
        const old = await s.add({ revision: 'r1' });
        await s.ask('old-unit', { max: 0 });
        const fresh = await s.add({ revision: 'r2' });
        expect(await s.drain('new-unit', { revision: 'r2', floor: 1 })).toEqual([fresh]);
        expect(await s.drain('old-unit', { currentRevision: 'r2' })).toEqual([old]);
      }),
    );

    it(
      'a unit of an older revision leaves once nothing of its own waits',
      on(async (s) => {
        await s.add({ revision: 'r1' });
        const old = { revision: 'r1', currentRevision: 'r2', floor: 3 };
        const lease = await s.take('u1', old);
        await s.complete(lease);
        expect(await s.ask('u1', old)).toEqual({ leases: [], verdict: 'leave' });
      }),
    );

    it(
      'work of a revision whose last unit left goes to the current one, in its place',
      on(async (s) => {
        const first = await s.add({ revision: 'r1', lane: 'batch' });
        await s.ask('old-unit', { max: 0 });
        const second = await s.add({ revision: 'r2', lane: 'batch', tenant: 'other' });
        const urgent = await s.add({ revision: 'r1', priority: 3 });
        await s.queue.retire(s.app, 'old-unit', s.now);
        expect((await s.queue.demand(s.app)).queuedByRevision).toEqual({ r1: 2, r2: 1 });
        await s.expire('r2');
        expect((await s.queue.demand(s.app)).queuedByRevision).toEqual({ r2: 3 });
        expect((await s.record(first)).revision).toBe('r2');
        expect(await s.drain('new-unit', { revision: 'r2' })).toEqual([urgent, first, second]);
      }),
    );

    it(
      'the lease call of a current unit moves it too',
      on(async (s) => {
        const which = await s.add({ revision: 'r1' });
        expect((await s.take('new-unit', { revision: 'r2' })).id).toBe(which);
      }),
    );

    it(
      'expire leaves it where units of that revision still live, or where the current one is unknown',
      on(async (s) => {
        await s.add({ revision: 'r1' });
        await s.queue.expire(new Map(), s.now);
        await s.ask('old-unit', { max: 0, currentRevision: 'r2' });
        await s.expire('r2');
        expect((await s.queue.demand(s.app)).queuedByRevision).toEqual({ r1: 1 });
      }),
    );

    it(
      'much of it moves in bounded steps',
      on(async (s) => {
        const requests = Array.from({ length: 700 }, () => s.request({ revision: 'r1' }));
        await s.queue.enqueue(requests, s.now);
        let steps = 0;
        for (let due = true; due; steps++) {
          const { nextAt } = await s.expire('r2');
          due = nextAt !== undefined && nextAt <= s.now;
        }
        expect(steps).toBeGreaterThan(1);
        expect(await s.drain('u2', { revision: 'r2', max: 200 })).toEqual(requests.map((one) => one.id));
      }),
    );
  });

  describe(`${driver.name}: demand`, () => {
    it(
      'tells what waits, what runs, since when, and who is there',
      on(async (s) => {
        expect(await s.queue.demand(s.app)).toEqual({ queued: 0, queuedByRevision: {}, leased: 0, units: [] });
        await s.add();
        s.now += 10;
        await s.add({ priority: 9, tenant: 'b' });
        await s.add({ revision: 'r2', lane: 'batch' });
        await s.ask('u2', { revision: 'r2', currentRevision: 'r1', max: 0 });
        await s.take('u1');
        s.now += 5;
        await s.ask('u2', { revision: 'r2', currentRevision: 'r1', max: 0 });
        await s.queue.retire(s.app, 'u3', s.now);
        const { units, ...rest } = await s.queue.demand(s.app);
        expect(rest).toEqual({ queued: 2, queuedByRevision: { r1: 1, r2: 1 }, leased: 1, oldestQueuedAt: T0 + 10 });
        expect([...units].sort((a, b) => a.unit.localeCompare(b.unit))).toEqual([
          { unit: 'u1', revision: 'r1', leases: 1, lastSeenAt: T0 + 10, retired: false },
          { unit: 'u2', revision: 'r2', leases: 0, lastSeenAt: T0 + 15, retired: false },
          { unit: 'u3', revision: '', leases: 0, lastSeenAt: T0 + 15, retired: true },
        ]);
      }),
    );

    it(
      'a starved old request stays the oldest',
      on(async (s) => {
        await s.add({ priority: -1_000 });
        for (let i = 0; i < 3; i++) {
          s.now += 100;
          await s.add({ priority: 1_000 });
          await s.take();
        }
        expect((await s.queue.demand(s.app)).oldestQueuedAt).toBe(T0);
      }),
    );
  });
}
