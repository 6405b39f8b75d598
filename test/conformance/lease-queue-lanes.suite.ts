// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { NewRequest } from '#gateway/queue/lease-queue.ts';
import { SUSPECT_PATIENCE_MS } from '#gateway/queue/limits.ts';
import { LEASE_MS, onFresh } from './lease-queue.harness.ts';
import type { QueueDriver, Scenario } from './lease-queue.harness.ts';

const SECOND = 1_000_000;

/** What every driver of the lease queue keeps: online and batch work side by side, and requests that have cost a unit its life. */
export function laneSuite(driver: QueueDriver): void {
  const on = (test: (s: Scenario) => Promise<void>): (() => Promise<void>) => onFresh(driver, test);

  describe(`${driver.name}: lanes`, () => {
    const both = async (s: Scenario, count: number): Promise<void> => {
      for (let i = 0; i < count; i++)
        for (const lane of ['online', 'batch'] as const) await s.add({ lane, cost: SECOND });
    };
    const lanesOf = async (s: Scenario, ids: readonly string[]): Promise<string> =>
      (await Promise.all(ids.map(async (one) => (await s.record(one)).lane[0]))).join('');

    it(
      'batch waits behind online, until its oldest has waited for the grace: then four parts to one',
      on(async (s) => {
        await both(s, 8);
        const grace = { starvationGraceMs: 10_000 };
        s.now += 9_999;
        const first = await s.ask('u1', { ...grace, max: 2 });
        s.now += 1;
        const rest = await s.drain('u1', { ...grace, max: 14 });
        expect(await lanesOf(s, [...first.leases.map((one) => one.id), ...rest])).toBe('oooboooobobbbbbb');
      }),
    );

    it(
      'sharing goes on until no batch work of the revision waits, however new the rest of it is',
      on(async (s) => {
        await both(s, 2);
        s.now += 300_000;
        expect(await lanesOf(s, [(await s.take()).id, (await s.take()).id])).toBe('ob');
        for (let i = 0; i < 5; i++) await s.add({ cost: SECOND });
        // Four more of online, then batch: the newcomers change nothing in that.
        expect(await lanesOf(s, await s.drain())).toBe('ooooboo');
        await both(s, 2);
        expect(await lanesOf(s, await s.drain())).toBe('oobb');
      }),
    );

    it(
      'a unit that asks for one lane gets that one only',
      on(async (s) => {
        await both(s, 2);
        s.now += 300_000;
        expect(await lanesOf(s, await s.drain('u1', { lanes: ['batch'] }))).toBe('bb');
        expect(await lanesOf(s, await s.drain('u2', { lanes: ['online'] }))).toBe('oo');
      }),
    );
  });

  describe(`${driver.name}: suspects`, () => {
    /** Requests that have cost a unit its life, `count` of them. */
    async function lose(s: Scenario, count: number, changes: Partial<NewRequest> = {}): Promise<string[]> {
      for (let i = 0; i < count; i++) await s.add(changes);
      const { leases } = await s.ask('dead', { max: count });
      s.now += LEASE_MS;
      await s.expire();
      return leases.map((one) => one.id);
    }

    it(
      'is leased alone, before all else, and its unit gets nothing beside it',
      on(async (s) => {
        const [first, second] = await lose(s, 2);
        const innocent = await s.add({ priority: 9 });
        const { leases } = await s.ask('u1', { max: 5 });
        expect(leases.map((one) => one.id)).toEqual([first]);
        expect((await s.ask('u1', { max: 5 })).leases).toEqual([]);
        expect((await s.ask('u2', { max: 5 })).leases.map((one) => one.id)).toEqual([second]);
        expect((await s.ask('u3', { max: 5 })).leases.map((one) => one.id)).toEqual([innocent]);
        await s.complete(leases[0]!);
        await s.add();
        expect((await s.ask('u1', { max: 5 })).leases.length).toBe(1);
      }),
    );

    it(
      'poison never takes neighbours twice',
      on(async (s) => {
        const ids = await lose(s, 6, { retry: { maxAttempts: 1, maxLosses: 1 } });
        const poison = ids[3]!;
        for (let i = 0; i < 6; i++) {
          const lease = await s.take(`u${i}`, { max: 6 });
          if (lease.id === poison) await s.fail(lease, 'lost', `u${i}`);
          else await s.complete(lease, `u${i}`);
        }
        const states = await Promise.all(ids.map(async (one) => (await s.record(one)).state));
        expect(states).toEqual(ids.map((one) => (one === poison ? 'failed' : 'succeeded')));
        expect((await s.record(poison)).losses).toBe(2);
      }),
    );

    it(
      'a unit that is busy gets other work meanwhile; when none has been empty for long, one is emptied for it',
      on(async (s) => {
        for (let i = 0; i < 3; i++) await s.add();
        const held = [await s.take('u1'), await s.take('u2')];
        const lost = await s.take('dead');
        s.now += LEASE_MS - 1;
        for (const [i, one] of held.entries()) await s.extend(one, `u${i + 1}`);
        s.now += 1;
        await s.expire();
        for (let i = 0; i < 4; i++) await s.add();
        held.push(await s.take('u1'));
        await s.take('u2');
        s.now += SUSPECT_PATIENCE_MS;
        // The first that asks is emptied, the other one goes on.
        expect((await s.ask('u1', { max: 5 })).leases).toEqual([]);
        await s.take('u2');
        for (const i of [0, 2]) {
          expect((await s.ask('u1', { max: 5 })).leases).toEqual([]);
          await s.complete(held[i]!);
        }
        expect((await s.ask('u1', { max: 5 })).leases.map((one) => one.id)).toEqual([lost.id]);
      }),
    );

    it(
      'of a tenant at its cap waits, the next one goes',
      on(async (s) => {
        for (const tenant of ['a', 'a', 'b']) await s.add({ tenant });
        const order = (await s.ask('dead', { max: 3 })).leases.map((one) => one.record.tenant).join('');
        s.now += LEASE_MS;
        await s.expire();
        await s.queue.setShares(s.app, new Map([['a', { weight: 1, maxInFlight: 1 }]]), s.now);
        const first = await s.take('u1');
        const second = await s.take('u2');
        expect([order, first.record.tenant, second.record.tenant]).toEqual(['aba', 'a', 'b']);
        expect((await s.ask('u3')).leases).toEqual([]);
        await s.complete(first);
        expect((await s.take('u3')).record.tenant).toBe('a');
      }),
    );

    it(
      'expires, is cancelled and counted as all others',
      on(async (s) => {
        const ids = await lose(s, 3, { deadline: s.now + LEASE_MS + 50 });
        expect(await s.queue.demand(s.app)).toMatchObject({ queued: 3, queuedByRevision: { r1: 3 } });
        expect(await s.queue.cancel(s.app, ids[0]!, s.now)).toBe('cancelled');
        s.now += 50;
        expect((await s.ask('u1', { max: 5 })).leases).toEqual([]);
        await s.expire();
        const states = await Promise.all(ids.map(async (one) => (await s.record(one)).state));
        expect(states).toEqual(['cancelled', 'expired', 'expired']);
        expect(await s.queue.demand(s.app)).toMatchObject({ queued: 0 });
      }),
    );

    it(
      'moves with the work of a revision whose units have left, and stays a suspect',
      on(async (s) => {
        const [lost] = await lose(s, 1);
        await s.queue.retire(s.app, 'dead', s.now);
        await s.add({ revision: 'r2' });
        await s.expire('r2');
        expect((await s.ask('u2', { revision: 'r2', max: 5 })).leases.map((one) => one.id)).toEqual([lost]);
      }),
    );
  });
}
