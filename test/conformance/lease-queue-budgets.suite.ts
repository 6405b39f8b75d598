// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { MAX_ATTEMPTS_KEPT } from '#gateway/queue/limits.ts';
import { LEASE_MS, T0, onFresh } from './lease-queue.harness.ts';
import type { QueueDriver, Scenario } from './lease-queue.harness.ts';

/** What every driver of the lease queue keeps: expiry, redelivery and the two budgets. */
export function budgetSuite(driver: QueueDriver): void {
  const on = (test: (s: Scenario) => Promise<void>): (() => Promise<void>) => onFresh(driver, test);

  describe(`${driver.name}: expiry and budgets`, () => {
    it(
      'a lease that runs out is given to another unit, and the late one can commit no more',
      on(async (s) => {
        const which = await s.add();
        const first = await s.take('u1');
        s.now += LEASE_MS - 1;
        expect((await s.expire()).expired).toBe(0);
        expect((await s.ask('u2')).leases).toEqual([]);
        s.now += 1;
        expect((await s.expire()).expired).toBe(1);
        const second = await s.take('u2');
        expect([second.id, second.token.epoch]).toEqual([which, 2]);
        expect(await s.complete(first, 'u1')).toBe('lost');
        expect((await s.extend(first, 'u1')).ok).toBe(false);
        expect(await s.complete(second, 'u2')).toBe('committed');
        expect((await s.record(which)).attempts.map((one) => [one.unit, one.outcome])).toEqual([
          ['u1', 'lost'],
          ['u2', 'succeeded'],
        ]);
      }),
    );

    it(
      'the next lease call finds an overdue lease without any expire call',
      on(async (s) => {
        const which = await s.add();
        await s.take('u1');
        s.now += LEASE_MS;
        expect((await s.take('u2')).id).toBe(which);
      }),
    );

    it(
      'a late result is accepted while nobody else has the request',
      on(async (s) => {
        const which = await s.add();
        const lease = await s.take();
        s.now += LEASE_MS;
        await s.expire();
        expect((await s.record(which)).state).toBe('queued');
        expect(await s.complete(lease)).toBe('committed');
        const record = await s.record(which);
        expect([record.state, record.losses]).toEqual(['succeeded', 1]);
        expect(record.attempts.map((one) => one.outcome)).toEqual(['succeeded']);
        expect(await s.drain()).toEqual([]);
        expect(await s.queue.demand(s.app)).toMatchObject({ queued: 0, leased: 0 });
      }),
    );

    it(
      'also before any sweep has seen that it is late',
      on(async (s) => {
        await s.add();
        const lease = await s.take();
        s.now += LEASE_MS * 2;
        expect(await s.complete(lease)).toBe('committed');
      }),
    );

    it(
      'extending keeps a lease for as long as it goes on',
      on(async (s) => {
        const which = await s.add();
        const lease = await s.take();
        for (let i = 0; i < 5; i++) {
          s.now += LEASE_MS - 1;
          expect(await s.extend(lease)).toEqual({ id: which, ok: true, expiresAt: s.now + LEASE_MS });
          await s.expire();
        }
        expect((await s.record(which)).epoch).toBe(1);
        expect(await s.complete(lease)).toBe('committed');
      }),
    );

    it(
      'handler errors have a budget of attempts; past it a dead letter',
      on(async (s) => {
        const which = await s.add({ retry: { maxAttempts: 3, maxLosses: 0 } });
        expect(await s.fail(await s.take())).toBe('requeued');
        expect(await s.fail(await s.take(), 'timeout')).toBe('requeued');
        expect(await s.fail(await s.take())).toBe('failed');
        const record = await s.record(which);
        expect(record).toMatchObject({ state: 'failed', deadLetter: true, failures: 3, losses: 0, finishedAt: T0 });
        expect(record.cause).toEqual({ kind: 'handler', message: 'because handler' });
        expect(record.attempts.map((one) => [one.epoch, one.outcome, one.message])).toEqual([
          [1, 'handler', 'because handler'],
          [2, 'timeout', 'because timeout'],
          [3, 'handler', 'because handler'],
        ]);
      }),
    );

    it(
      'lost units have one of their own; past it a dead letter',
      on(async (s) => {
        const which = await s.add({ retry: { maxAttempts: 1, maxLosses: 2 } });
        const tokens = [];
        for (let i = 0; i < 3; i++) {
          tokens.push(await s.take(`u${i}`));
          s.now += LEASE_MS;
          await s.expire();
        }
        const record = await s.record(which);
        expect(record).toMatchObject({ state: 'failed', deadLetter: true, failures: 0, losses: 3 });
        expect(record.cause?.kind).toBe('lost');
        // Final is final: the result of the last attempt comes too late.
        expect(await s.complete(tokens[2]!, 'u2')).toBe('lost');
      }),
    );

    it(
      'a unit that says its child died spends a loss, not an attempt',
      on(async (s) => {
        const which = await s.add({ retry: { maxAttempts: 1, maxLosses: 1 } });
        expect(await s.fail(await s.take(), 'lost')).toBe('requeued');
        expect(await s.fail(await s.take(), 'lost')).toBe('failed');
        expect(await s.record(which)).toMatchObject({ failures: 0, losses: 2, deadLetter: true });
      }),
    );

    it(
      'dead letters are counted once, whichever budget was spent and whichever call found out',
      on(async (s) => {
        const retry = { maxAttempts: 1, maxLosses: 0 };
        for (let i = 0; i < 5; i++) await s.add({ retry });
        await s.fail(await s.take());
        await s.fail(await s.take(), 'lost');
        await s.fail(await s.take(), 'input');
        expect(await s.expire()).toMatchObject({ deadLetters: 2 });
        await s.take('silent');
        s.now += LEASE_MS;
        // It is this call that finds the lease overdue, not the sweep.
        expect(await s.queue.retire(s.app, 'silent', s.now)).toBe('retired');
        expect(await s.expire()).toMatchObject({ deadLetters: 1, expired: 0 });
        await s.take('other');
        s.now += LEASE_MS;
        expect(await s.expire()).toMatchObject({ deadLetters: 1, expired: 1 });
        expect(await s.expire()).toMatchObject({ deadLetters: 0, expired: 0 });
      }),
    );

    it(
      'bad input fails at once and is no dead letter',
      on(async (s) => {
        const which = await s.add();
        expect(await s.fail(await s.take(), 'input')).toBe('failed');
        expect(await s.record(which)).toMatchObject({ state: 'failed', deadLetter: false, cause: { kind: 'input' } });
      }),
    );

    it(
      'a release costs nothing, however often, and the timeline stays bounded',
      on(async (s) => {
        const which = await s.add({ retry: { maxAttempts: 1, maxLosses: 0 } });
        for (let i = 0; i < MAX_ATTEMPTS_KEPT + 5; i++) expect(await s.release(await s.take())).toBe('requeued');
        const { attempts, failures, losses, epoch } = await s.record(which);
        expect([attempts.length, failures, losses, epoch]).toEqual([MAX_ATTEMPTS_KEPT, 0, 0, MAX_ATTEMPTS_KEPT + 5]);
        expect(attempts.at(-1)!.epoch).toBe(epoch);
        expect(attempts[0]!.epoch).toBe(6);
      }),
    );

    it(
      'what was given back can be neither completed nor given back again',
      on(async (s) => {
        await s.add();
        const released = await s.take();
        await s.release(released);
        expect([await s.complete(released), await s.release(released), await s.fail(released)]).toEqual([
          'lost',
          'lost',
          'lost',
        ]);
        const failed = await s.take();
        await s.fail(failed);
        expect([await s.complete(failed), await s.fail(failed)]).toEqual(['lost', 'lost']);
      }),
    );

    it(
      'many failures of one call are judged one by one, in its order',
      on(async (s) => {
        const retry = { maxAttempts: 1, maxLosses: 1 };
        for (let i = 0; i < 3; i++) await s.add({ retry });
        const { leases } = await s.ask('u1', { max: 3 });
        const failures = leases.map(({ id, token }, i) => ({
          id,
          token: i === 1 ? { ...token, epoch: 9 } : token,
          cause: { kind: i === 0 ? ('lost' as const) : ('handler' as const), message: `no. ${i}` },
        }));
        expect(await s.queue.fail(s.app, 'u1', failures, s.now)).toEqual(['requeued', 'lost', 'failed']);
        const many = Array.from({ length: 257 }, () => failures[1]!);
        await expect(s.queue.fail(s.app, 'u1', many, s.now)).rejects.toMatchObject({ code: 'invalid' });
      }),
    );

    it(
      'a long message is cut and survives its characters',
      on(async (s) => {
        const which = await s.add({ retry: { maxAttempts: 1, maxLosses: 0 } });
        const message = `"quotes"\n\t\u0001 é 🚀 ${'x'.repeat(5_000)}`;
        const { id, token } = await s.take();
        await s.queue.fail(s.app, 'u1', [{ id, token, cause: { kind: 'handler', message } }], s.now);
        expect((await s.record(which)).cause!.message).toBe(message.slice(0, 2_048));
      }),
    );

    it(
      'a queued request past its deadline expires and never runs',
      on(async (s) => {
        const [late, other] = [await s.add({ deadline: T0 + 10 }), await s.add()];
        s.now += 10;
        expect((await s.expire()).expired).toBe(1);
        expect(await s.record(late)).toMatchObject({ state: 'expired', finishedAt: T0 + 10, deadLetter: false });
        expect(await s.drain()).toEqual([other]);
      }),
    );

    it(
      'a lease call passes over it by itself',
      on(async (s) => {
        const late = await s.add({ deadline: T0 + 10 });
        const other = await s.add();
        s.now += 11;
        expect((await s.take()).id).toBe(other);
        expect((await s.record(late)).state).toBe('expired');
      }),
    );

    it(
      'a running request may pass its deadline; one that comes back after it expires',
      on(async (s) => {
        const [a, b] = [await s.add({ deadline: T0 + 10 }), await s.add({ deadline: T0 + 10 })];
        const { leases } = await s.ask('u1', { max: 2 });
        s.now += 11;
        expect(await s.complete(leases[0]!)).toBe('committed');
        await s.release(leases[1]!);
        await s.expire();
        expect([(await s.record(a)).state, (await s.record(b)).state]).toEqual(['succeeded', 'expired']);
      }),
    );

    it(
      'expire works in bounded steps and says when it wants to go on',
      on(async (s) => {
        const requests = Array.from({ length: 600 }, () => s.request({ deadline: T0 + 5 }));
        await s.queue.enqueue(requests, s.now);
        expect((await s.expire()).nextAt).toBe(T0 + 5);
        s.now += 5;
        const counts = [];
        for (let step = await s.expire(); ; step = await s.expire()) {
          counts.push(step.expired);
          if (step.nextAt === undefined || step.nextAt > s.now) break;
        }
        expect(counts.reduce((sum, one) => sum + one, 0)).toBe(600);
        expect(Math.max(...counts)).toBeLessThan(600);
      }),
    );
  });
}
