// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it, vi } from 'vitest';
import type { Lease, NewRequest } from '#gateway/queue/lease-queue.ts';
import { SUSPECT_PATIENCE_MS } from '#gateway/queue/limits.ts';
import { LEASE_MS, onFresh, text } from './lease-queue.harness.ts';
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

    const many = (s: Scenario, count: number, changes: Partial<NewRequest>) =>
      s.queue.enqueue(
        Array.from({ length: count }, () => s.request({ cost: 500_000, ...changes })),
        s.now,
      );

    it.each([1, 2])(
      'of a tenant with a cap of %i and much other work is not starved by that work',
      (maxInFlight) =>
        onFresh(driver, async (s) => {
          const own = { tenant: 'first', share: { weight: 100, maxInFlight } };
          const units = new Map<string, Lease[]>(['u', 'v', 'w'].map((unit) => [unit, []]));
          const given: string[] = [];
          const fill = async (unit: string): Promise<void> => {
            const leases = units.get(unit)!;
            leases.push(...(await s.ask(unit, { max: 4 - leases.length })).leases);
            given.push(...leases.map((one) => one.id));
          };
          await many(s, 300, { tenant: 'other' });
          for (const unit of units.keys()) await fill(unit);
          const suspect = await s.add(own);
          expect((await s.take('dead')).id).toBe(suspect);
          await many(s, 300, own);
          s.now += LEASE_MS - 1;
          for (const [unit, leases] of units) for (const one of leases) await s.extend(one, unit);
          s.now += 1;
          await s.expire();
          given.length = 0;
          const end = s.now + SUSPECT_PATIENCE_MS + 5_000;
          // Each unit ends something every 750 ms, and all of them hear whenever something may be had.
          for (let turn = 0; s.now < end && !given.includes(suspect); turn++) {
            s.now += 250;
            const unit = [...units.keys()][turn % 3]!;
            const done = units.get(unit)!.shift();
            // What it was charged for: others get on, so that the loss does not keep its tenant behind them.
            const result = { result: text('out'), serviceMicros: 500_000 };
            if (done !== undefined) await s.queue.complete(s.app, unit, [{ ...done, ...result }], s.now);
            for (const each of units.keys()) await fill(each);
          }
          expect(given).toContain(suspect);
        })(),
      20_000,
    );

    it(
      'leaves its tenant the other places of its cap, and all of them once it is gone',
      on(async (s) => {
        const share = { weight: 1, maxInFlight: 2 };
        await s.add({ tenant: 'other' });
        await s.take('u1', { leaseMs: 10 * LEASE_MS });
        const [lost] = await lose(s, 1, { share });
        const heard = s.listen();
        for (let i = 0; i < 3; i++) await s.add({ share });
        expect((await s.ask('u1', { max: 5 })).leases.length).toBe(1);
        heard.events.length = 0;
        expect(await s.queue.cancel(s.app, lost!, s.now)).toBe('cancelled');
        expect((await s.ask('u1', { max: 5 })).leases.length).toBe(1);
        await vi.waitFor(() => expect(heard.events.map((one) => one.type)).toContain('ready'));
        heard.stop();
      }),
    );

    it(
      'a unit that is being emptied for it goes on with that when its tenant reaches its cap, but not when that is none at all',
      on(async (s) => {
        const long = { leaseMs: 10 * LEASE_MS };
        await s.add({ tenant: 'other' });
        await s.add();
        await s.take('u1', long);
        await s.take('u2', long);
        await lose(s, 1);
        await many(s, 2, { tenant: 'other' });
        s.now += SUSPECT_PATIENCE_MS;
        expect((await s.ask('u1')).leases).toEqual([]);
        const cap = (maxInFlight: number) =>
          s.queue.setShares(s.app, new Map([['acme', { weight: 1, maxInFlight }]]), s.now);
        await cap(1);
        expect((await s.ask('u1')).leases).toEqual([]);
        await cap(0);
        expect((await s.ask('u1')).leases.length).toBe(1);
        // Nor is another one emptied while it could not be given.
        await cap(1);
        expect((await s.ask('u1')).leases.length).toBe(1);
      }),
    );

    it(
      'a hundred of a tenant that is given nothing hide no other one, and empty no unit',
      on(async (s) => {
        await many(s, 100, { tenant: 'shut' });
        await s.ask('dead', { max: 100 });
        s.now += 1;
        await s.add({ tenant: 'open' });
        const open = await s.take('dead');
        s.now += LEASE_MS;
        await s.expire();
        await s.queue.setShares(s.app, new Map([['shut', { weight: 1, maxInFlight: 0 }]]), s.now);
        const found = await s.take('u1');
        expect(found.id).toBe(open.id);
        await s.complete(found);
        await many(s, 4, { tenant: 'open' });
        await s.take('u1');
        s.now += SUSPECT_PATIENCE_MS;
        await s.take('u1');
        await s.take('u1');
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
