// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import { OBJECT_GRACE_MS, REVOCATION_TRIM_MS, REOFFER_MS, SWEEP_RECORDS } from '#gateway/queue/limits.ts';
import { LEASE_MS, T0, id, onFresh, text } from './lease-queue.harness.ts';
import type { QueueDriver, Scenario } from './lease-queue.harness.ts';

const stored = (key: string) => ({ contentType: 'a/b', bytes: 100_000, key });

/** What every driver of the lease queue keeps: sweeps in two phases, purge, bounds on what it is given. */
export function housekeepingSuite(driver: QueueDriver): void {
  const on = (test: (s: Scenario) => Promise<void>): (() => Promise<void>) => onFresh(driver, test);

  describe(`${driver.name}: sweep`, () => {
    it(
      'a finished record goes after its retention, its objects come until acknowledged',
      on(async (s) => {
        const which = await s.add({ body: stored('body'), dedupeKey: 'k', retentionMs: 60_000 });
        await s.complete(await s.take(), 'u1', stored('result'));
        s.now += 59_999;
        expect(await s.sweep()).toEqual([]);
        s.now += 1;
        expect([...(await s.sweep())].sort()).toEqual(['body', 'result']);
        expect(await s.queue.get(s.app, which)).toBeUndefined();
        // A crash here loses nothing: not acknowledged, so it comes again.
        await s.queue.forget(['body']);
        expect(await s.sweep()).toEqual([]);
        s.now += REOFFER_MS;
        expect(await s.sweep()).toEqual(['result']);
        await s.queue.forget(['result', 'never offered']);
        s.now += REOFFER_MS;
        expect(await s.sweep()).toEqual([]);
        expect((await s.offer({ dedupeKey: 'k' })).kind).toBe('queued');
      }),
    );

    it(
      'a live request stays however old, and a newer owner of its key keeps it',
      on(async (s) => {
        const old = await s.add({ dedupeKey: 'k', retentionMs: 0 });
        await s.queue.cancel(s.app, old, s.now);
        const newer = await s.add({ dedupeKey: 'k', retentionMs: 0 });
        s.now += 1e9;
        await s.sweep();
        expect(await s.queue.get(s.app, old)).toBeUndefined();
        const outcome = await s.offer({ dedupeKey: 'k' });
        expect(outcome).toMatchObject({ kind: 'joined', record: { id: newer } });
      }),
    );

    it(
      'a call that joined, and starts a request of its own when it is repeated, keeps its body',
      on(async (s) => {
        const first = await s.add({ dedupeKey: 'k' });
        const call = { id: id(), dedupeKey: 'k', body: stored('body') };
        expect((await s.offer(call)).kind).toBe('joined');
        // The answer is lost with the connection, and the call is sent again.
        await s.queue.cancel(s.app, first, s.now);
        expect((await s.offer(call)).kind).toBe('queued');
        s.now += REOFFER_MS;
        expect(await s.sweep()).toEqual([]);
        expect(await s.record(call.id)).toMatchObject({ body: stored('body') });
      }),
    );

    it(
      'a letter whose body a redrive has handed on stays until its heir’s record goes, and names it',
      on(async (s) => {
        const retry = { maxAttempts: 1, maxLosses: 0 };
        const letter = await s.add({ body: stored('body'), retry, retentionMs: 0 });
        expect(await s.fail(await s.take())).toBe('failed');
        const heir = id();
        const [outcome] = await s.queue.redrive(s.app, [{ id: letter, newId: heir, revision: 'r1' }], s.now);
        expect(outcome).toMatchObject({ kind: 'redriven', record: { id: heir, body: stored('body') } });
        expect(await s.sweep()).toEqual([]);
        s.now += OBJECT_GRACE_MS;
        expect(await s.sweep()).toEqual([]);
        expect(await s.record(letter)).toMatchObject({ state: 'failed', redrivenAs: heir });
        await s.queue.cancel(s.app, heir, s.now);
        expect(await s.sweep()).toEqual(['body']);
        s.now += OBJECT_GRACE_MS;
        await s.sweep();
        expect(await s.queue.get(s.app, letter)).toBeUndefined();
      }),
    );

    it(
      'answers at most as many keys as asked for, and all of them in the end',
      on(async (s) => {
        for (let i = 0; i < 7; i++)
          await s.queue.cancel(s.app, await s.add({ body: stored(`body-${i}`), retentionMs: 0 }), s.now);
        const keys: string[] = [];
        for (let more = true; more;) {
          const step = await s.queue.sweep(3, s.now);
          expect(step.keys.length).toBeLessThanOrEqual(3);
          keys.push(...step.keys);
          await s.queue.forget(step.keys);
          more = step.more;
        }
        expect(keys.sort()).toEqual(Array.from({ length: 7 }, (_, i) => `body-${i}`));
      }),
    );

    it(
      'says whether another step would find more, also where records without objects yield no key',
      on(async (s) => {
        const many = SWEEP_RECORDS + 1;
        for (let at = 0; at < many; at += 500) {
          const requests = Array.from({ length: Math.min(500, many - at) }, () =>
            s.request({ deadline: s.now + 1, retentionMs: 0 }),
          );
          await s.queue.enqueue(requests, s.now);
        }
        expect(await s.queue.sweep(10, s.now)).toEqual({ keys: [], more: false });
        s.now += 2;
        while ((await s.queue.demand(s.app)).queued > 0) await s.expire();
        expect(await s.queue.sweep(10, s.now)).toEqual({ keys: [], more: true });
        let steps = 1;
        while ((await s.queue.sweep(10, s.now)).more) steps++;
        expect(steps).toBeLessThan(10);
        // Nothing is due: the same time finds no more.
        expect(await s.queue.sweep(10, s.now)).toEqual({ keys: [], more: false });
      }),
    );

    it(
      'the queue remembers how far records were swept, and which apps are closed',
      on(async (s) => {
        const at = (made: number): string => uuid7({ ...systemClock, now: () => made }, systemRandom);
        expect(await s.queue.remains(s.app)).toEqual({ closed: false, sweptUpTo: 0 });
        for (const made of [T0 - 5_000, T0 - 1_000, T0 - 9_000])
          await s.queue.cancel(s.app, await s.add({ id: at(made), retentionMs: 0 }), s.now);
        const kept = await s.add({ id: at(T0) });
        await s.sweep();
        expect(await s.queue.remains(s.app)).toEqual({ closed: false, sweptUpTo: T0 - 1_000 });
        await s.queue.cancel(s.app, await s.add({ id: at(T0 - 3_000), retentionMs: 0 }), s.now);
        await s.sweep();
        expect(await s.queue.remains(s.app)).toMatchObject({ sweptUpTo: T0 - 1_000 });
        expect(await s.queue.get(s.app, kept)).toBeDefined();
        await s.queue.purge(s.app, 10, s.now);
        expect(await s.queue.remains(s.app)).toMatchObject({ closed: true });
        while (!(await s.queue.purge(s.app, 10, s.now)).done);
        expect(await s.queue.remains(s.app)).toMatchObject({ closed: true });
        expect(await s.queue.remains(`${s.app}-other`)).toEqual({ closed: false, sweptUpTo: 0 });
      }),
    );

    it(
      'an upload that its attempt did not commit is swept, the committed one is not',
      on(async (s) => {
        await s.add({ retentionMs: 1e10 });
        const lost = await s.take('u1');
        expect(await s.queue.noteObject(s.app, lost.id, lost.token, 'attempt-1', s.now)).toBe(true);
        s.now += LEASE_MS;
        await s.expire();
        const won = await s.take('u2');
        expect(await s.queue.noteObject(s.app, lost.id, lost.token, 'attempt-1b', s.now)).toBe(false);
        expect(await s.queue.noteObject(s.app, won.id, won.token, 'attempt-2', s.now)).toBe(true);
        expect(await s.queue.noteObject(s.app, won.id, won.token, 'attempt-2-unused', s.now)).toBe(true);
        await s.complete(won, 'u2', stored('attempt-2'));
        expect(await s.sweep()).toEqual([]);
        s.now += OBJECT_GRACE_MS;
        expect([...(await s.sweep())].sort()).toEqual(['attempt-1', 'attempt-2-unused']);
        await s.queue.forget(['attempt-1', 'attempt-2-unused']);
        s.now += 1e8;
        expect(await s.sweep()).toEqual([]);
      }),
    );

    it(
      'an upload of an attempt that may still commit is left alone',
      on(async (s) => {
        await s.add({ retentionMs: 1e10 });
        const lease = await s.take();
        await s.queue.noteObject(s.app, lease.id, lease.token, 'mine', s.now);
        s.now += OBJECT_GRACE_MS + LEASE_MS;
        await s.expire();
        expect(await s.sweep()).toEqual([]);
        expect(await s.complete(lease, 'u1', stored('mine'))).toBe('committed');
        s.now += OBJECT_GRACE_MS;
        expect(await s.sweep()).toEqual([]);
      }),
    );

    it(
      'the object of a result that comes late is noted for as long as it would be taken',
      on(async (s) => {
        await s.add();
        const lease = await s.take();
        s.now += LEASE_MS;
        await s.expire();
        expect(await s.queue.noteObject(s.app, lease.id, lease.token, 'late', s.now)).toBe(true);
        expect(await s.complete(lease, 'u1', stored('late'))).toBe('committed');
        expect(await s.queue.noteObject(s.app, lease.id, lease.token, 'late', s.now)).toBe(false);
      }),
    );

    it(
      'nothing is noted for a request that was given back, has finished or is unknown',
      on(async (s) => {
        await s.add();
        const released = await s.take();
        await s.release(released);
        expect(await s.queue.noteObject(s.app, released.id, released.token, 'k', s.now)).toBe(false);
        const lease = await s.take();
        await s.complete(lease);
        expect(await s.queue.noteObject(s.app, lease.id, lease.token, 'k', s.now)).toBe(false);
        expect(await s.queue.noteObject(s.app, id(), lease.token, 'k', s.now)).toBe(false);
      }),
    );
  });

  describe(`${driver.name}: revocations`, () => {
    it(
      'are there for every process until they have ended, and only ever prolonged',
      on(async (s) => {
        const [first, second] = [id(), id()];
        expect(await s.queue.revoke(first, s.now + 1_000, s.now)).toBe(true);
        expect(await s.queue.revoke(second, s.now + 9e8, s.now)).toBe(true);
        expect(await s.queue.revoke(second, s.now + 5, s.now)).toBe(true);
        const all = await s.queue.revocations();
        expect([all.get(first), all.get(second), all.get(id())]).toEqual([s.now + 1_000, s.now + 9e8, undefined]);
        // Ended ones go when the next one comes, some minutes later: clocks of replicas differ.
        await s.queue.revoke(id(), s.now + 9e8, s.now + 1_000 + REVOCATION_TRIM_MS);
        const left = await s.queue.revocations();
        expect([left.get(first), left.get(second)]).toEqual([undefined, s.now + 9e8]);
      }),
    );
  });

  describe(`${driver.name}: purge`, () => {
    it(
      'cancels what waits, lets leases finish, then removes records, objects and the app',
      on(async (s) => {
        const queued = await s.add({ body: stored('b1') });
        const running = await s.add({ body: stored('b2'), priority: 1 });
        const lease = await s.take('u1');
        await s.queue.noteObject(s.app, running, lease.token, 'upload', s.now);
        expect(await s.queue.purge(s.app, 10, s.now)).toEqual({ done: false, orphans: [] });
        expect((await s.record(queued)).state).toBe('cancelled');
        expect((await s.offer()).kind).toBe('closed');
        expect(await s.queue.purge(s.app, 10, s.now)).toEqual({ done: false, orphans: [], waiting: true });
        expect((await s.extend(lease)).ok).toBe(true);
        expect((await s.ask('u2', { floor: 3 })).verdict).toBe('leave');
        expect(await s.complete(lease, 'u1', stored('result'))).toBe('committed');
        expect((await s.ask('u1')).verdict).toBe('leave');

        const first = await s.queue.purge(s.app, 10, s.now);
        expect([first.done, [...first.orphans].sort()]).toEqual([false, ['b1', 'b2', 'result', 'upload']]);
        // A crash here loses nothing: not acknowledged, so they come again.
        await s.queue.forget(['b1', 'upload']);
        const second = await s.queue.purge(s.app, 10, s.now);
        expect([second.done, [...second.orphans].sort()]).toEqual([false, ['b2', 'result']]);
        await s.queue.forget(second.orphans);
        expect(await s.queue.purge(s.app, 10, s.now)).toEqual({ done: true, orphans: [] });
        expect(await s.queue.purge(s.app, 10, s.now)).toEqual({ done: true, orphans: [] });

        expect(await s.queue.get(s.app, running)).toBeUndefined();
        expect((await s.offer()).kind).toBe('closed');
        expect((await s.ask('u3')).verdict).toBe('refused');
        expect(await s.queue.demand(s.app)).toEqual({ queued: 0, queuedByRevision: {}, leased: 0, units: [] });
      }),
    );

    it(
      'a lease that is given back or runs out meanwhile ends as cancelled',
      on(async (s) => {
        const ids = [await s.add(), await s.add(), await s.add()];
        const { leases } = await s.ask('u1', { max: 3 });
        await s.queue.purge(s.app, 10, s.now);
        expect(await s.release(leases[0]!)).toBe('cancelled');
        expect(await s.fail(leases[1]!)).toBe('cancelled');
        s.now += LEASE_MS;
        await s.expire();
        for (const one of ids) expect((await s.record(one)).state).toBe('cancelled');
        expect((await s.queue.purge(s.app, 10, s.now)).done).toBe(true);
      }),
    );

    it(
      'goes on in bounded steps',
      on(async (s) => {
        await s.queue.enqueue(
          Array.from({ length: 50 }, () => s.request()),
          s.now,
        );
        let steps = 1;
        while (!(await s.queue.purge(s.app, 10, s.now)).done) steps++;
        expect(steps).toBeGreaterThan(8);
      }),
    );

    it(
      'an app that never was is purged at once, and closed',
      on(async (s) => {
        const step = await s.queue.purge(s.app, 10, s.now);
        expect([step.done || (await s.queue.purge(s.app, 10, s.now)).done, (await s.offer()).kind]).toEqual([
          true,
          'closed',
        ]);
      }),
    );

    it(
      'other apps go on',
      on(async (s) => {
        const other = `${s.app}-2`;
        await s.offer({ app: other });
        await s.queue.purge(s.app, 10, s.now);
        expect((await s.queue.demand(other)).queued).toBe(1);
      }),
    );
  });

  describe(`${driver.name}: bad input`, () => {
    const requests: [string, object][] = [
      ['id', { id: 'x' }],
      ['id', { id: '9b0f8c52-6a3e-4c1f-9f7e-2f1d6e5c4b3a' }],
      ['app', { app: 'a}b' }],
      ['app', { app: '' }],
      ['tenant', { tenant: 'a b' }],
      ['tenant', { tenant: 'x'.repeat(300) }],
      ['revision', { revision: 'r:1' }],
      ['lane', { lane: 'express' }],
      ['priority', { priority: 1_001 }],
      ['priority', { priority: 0.5 }],
      ['deadline', { deadline: 2 ** 42 }],
      ['cost', { cost: -1 }],
      ['cost', { cost: Number.NaN }],
      ['dedupeKey', { dedupeKey: '' }],
      ['retry.maxAttempts', { retry: { maxAttempts: 0, maxLosses: 0 } }],
      ['retry.maxLosses', { retry: { maxAttempts: 1, maxLosses: -1 } }],
      ['retentionMs', { retentionMs: -1 }],
      ['body', { body: { ...text('x'), key: 'both' } }],
      ['body', { body: { contentType: 'a/b', bytes: 7 } }],
      ['body.inline', { body: { contentType: 'a/b', bytes: 16_385, inline: Buffer.alloc(16_385) } }],
    ];
    for (const [field, changes] of requests) {
      it(
        `a request with ${JSON.stringify(changes).slice(0, 60)} is refused by the name of its field`,
        on(async (s) => {
          await expect(s.offer(changes)).rejects.toMatchObject({
            code: 'invalid',
            message: expect.stringContaining(field) as unknown,
          });
          expect((await s.queue.demand(s.app)).queued).toBe(0);
        }),
      );
    }

    const leases: [string, object][] = [
      ['max', { max: 257 }],
      ['nonces', { max: 2, nonces: ['00112233445566aa'] }],
      ['nonces', { nonces: ['xyz'] }],
      ['unit', { unit: '' }],
      ['leaseMs', { leaseMs: 0 }],
      ['leaseMs', { leaseMs: 1e9 }],
      ['lanes', { lanes: ['fast'] }],
      ['floor', { floor: -1 }],
    ];
    for (const [field, changes] of leases) {
      it(
        `a lease with ${JSON.stringify(changes).slice(0, 60)} is refused by the name of its field`,
        on(async (s) => {
          await s.add();
          await expect(s.ask('u1', changes)).rejects.toMatchObject({
            code: 'invalid',
            message: expect.stringContaining(field) as unknown,
          });
          expect((await s.queue.demand(s.app)).leased).toBe(0);
        }),
      );
    }

    it(
      'too many in one call are refused',
      on(async (s) => {
        const many = Array.from({ length: 1_001 }, () => s.request());
        await expect(s.queue.enqueue(many, s.now)).rejects.toMatchObject({ code: 'invalid' });
        const held = Array.from({ length: 257 }, () => ({ id: id(), token: { epoch: 1, nonce: '' } }));
        await expect(s.queue.release(s.app, 'u1', held, T0)).rejects.toMatchObject({ code: 'invalid' });
      }),
    );
  });
}
