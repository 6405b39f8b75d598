// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { LEASE_MS, T0, nonce, onFresh, plain, text } from './lease-queue.harness.ts';
import type { QueueDriver, Scenario } from './lease-queue.harness.ts';

/** What every driver of the lease queue keeps: tokens, and cancel in each state. */
export function tokenSuite(driver: QueueDriver): void {
  const on = (test: (s: Scenario) => Promise<void>): (() => Promise<void>) => onFresh(driver, test);

  describe(`${driver.name}: tokens`, () => {
    const forged: [string, (lease: { epoch: number; nonce: string }) => { epoch: number; nonce: string }][] = [
      ['a stale epoch', (t) => ({ ...t, epoch: t.epoch - 1 })],
      ['a future epoch', (t) => ({ ...t, epoch: t.epoch + 1 })],
      ['the right epoch with a wrong nonce', (t) => ({ ...t, nonce: nonce() })],
      ['an empty nonce', (t) => ({ ...t, nonce: '' })],
      ['no numbers at all', () => ({ epoch: Number.NaN, nonce: 'x' })],
    ];
    for (const [name, forge] of forged) {
      it(
        `${name} commits, extends, fails, releases and notes nothing`,
        on(async (s) => {
          await s.add();
          const lease = await s.take();
          const wrong = { ...lease, token: forge(lease.token) };
          expect(await s.complete(wrong)).toBe('lost');
          expect((await s.extend(wrong)).ok).toBe(false);
          expect(await s.fail(wrong)).toBe('lost');
          expect(await s.release(wrong)).toBe('lost');
          expect(await s.queue.noteObject(s.app, lease.id, wrong.token, 'k', s.now)).toBe(false);
          expect(await s.complete(lease)).toBe('committed');
          expect(await s.complete(wrong)).toBe('lost');
        }),
      );
    }

    it(
      'another unit holds nothing by a stolen token',
      on(async (s) => {
        await s.add();
        const lease = await s.take('u1');
        await s.ask('u2');
        expect(await s.complete(lease, 'u2')).toBe('lost');
        expect((await s.extend(lease, 'u2')).ok).toBe(false);
        expect(await s.release(lease, 'u2')).toBe('lost');
      }),
    );

    it(
      'a malformed id is lost, and the others of the call are not',
      on(async (s) => {
        await s.add();
        const lease = await s.take();
        const done = [{ ...lease, id: 'no-id' }, lease].map((one) => ({ ...one, result: text('x'), serviceMicros: 1 }));
        expect(await s.queue.complete(s.app, 'u1', done, s.now)).toEqual(['lost', 'committed']);
      }),
    );

    it(
      'who commits is told which of its results an earlier call has committed',
      on(async (s) => {
        await s.add();
        await s.add();
        const { leases } = await s.ask('u1', { max: 2 });
        const done = leases.map((one) => ({ ...one, result: text('x'), serviceMicros: 1 }));
        const repeats: number[] = [];
        const commit = (some: typeof done): ReturnType<typeof s.queue.complete> =>
          s.queue.complete(s.app, 'u1', some, s.now, (place) => repeats.push(place));
        expect(await commit(done.slice(1))).toEqual(['committed']);
        expect(repeats).toEqual([]);
        expect(await commit(done)).toEqual(['committed', 'committed']);
        expect(repeats).toEqual([1]);
      }),
    );

    it(
      'the repeat of a lease call extends nothing: it tells the end that its leases have, the earliest of them',
      on(async (s) => {
        for (let i = 0; i < 2; i++) await s.add();
        const nonces = [nonce(), nonce()];
        const first = await s.ask('u1', { max: 2, nonces });
        const ends = T0 + LEASE_MS;
        expect(first.leases.map((one) => one.expiresAt)).toEqual([ends, ends]);
        s.now += 20_000;
        expect((await s.ask('u1', { max: 2, nonces })).leases).toEqual(first.leases);
        await s.extend(first.leases[0]!);
        expect((await s.ask('u1', { max: 2, nonces })).leases.map((one) => one.expiresAt)).toEqual([ends, ends]);
        await s.extend(first.leases[1]!);
        const later = s.now + LEASE_MS;
        expect((await s.ask('u1', { max: 2, nonces })).leases.map((one) => one.expiresAt)).toEqual([later, later]);
      }),
    );

    it(
      'the repeat of a completion answers committed and changes nothing',
      on(async (s) => {
        const which = await s.add();
        const lease = await s.take();
        await s.complete(lease);
        s.now += 50;
        expect(await s.complete(lease, 'u1', text('other'))).toBe('committed');
        expect(plain(await s.record(which))).toMatchObject({ finishedAt: T0, result: plain(text('out')) });
      }),
    );

    it(
      'the same lease call again, its first nonce says so, answers the same leases',
      on(async (s) => {
        await s.add();
        await s.add();
        const nonces = [nonce(), nonce()];
        const first = await s.ask('u1', { max: 2, nonces });
        await s.complete(first.leases[0]!);
        const again = await s.ask('u1', { max: 2, nonces });
        expect(again.leases.map((one) => [one.id, one.token])).toEqual([[first.leases[1]!.id, first.leases[1]!.token]]);
        expect((await s.queue.demand(s.app)).leased).toBe(1);
      }),
    );
  });

  describe(`${driver.name}: cancel`, () => {
    it(
      'a queued request is cancelled at once, and only once',
      on(async (s) => {
        const which = await s.add();
        expect(await s.queue.cancel(s.app, which, s.now)).toBe('cancelled');
        expect(await s.record(which)).toMatchObject({ state: 'cancelled', finishedAt: T0 });
        expect(await s.queue.cancel(s.app, which, s.now)).toBe('final');
        expect(await s.drain()).toEqual([]);
      }),
    );

    it(
      'of a leased one the unit hears at its next extend; its result is dropped',
      on(async (s) => {
        const which = await s.add();
        const lease = await s.take();
        expect(await s.queue.cancel(s.app, which, s.now)).toBe('cancelling');
        expect(await s.queue.cancel(s.app, which, s.now)).toBe('cancelling');
        expect((await s.record(which)).cancelRequested).toBe(true);
        expect(await s.extend(lease)).toMatchObject({ ok: true, cancel: true });
        expect(await s.complete(lease)).toBe('cancelled');
        expect(await s.complete(lease)).toBe('cancelled');
        const record = await s.record(which);
        expect(record).toMatchObject({ state: 'cancelled', cancelRequested: false });
        expect(record.result).toBeUndefined();
      }),
    );

    const others: [string, (s: Scenario) => Promise<unknown>, unknown][] = [
      ['released', async (s) => s.release(await leasedAndCancelled(s)), 'cancelled'],
      ['failed', async (s) => s.fail(await leasedAndCancelled(s)), 'cancelled'],
      ['failed by bad input', async (s) => s.fail(await leasedAndCancelled(s), 'input'), 'cancelled'],
      [
        'lost',
        async (s) => {
          await leasedAndCancelled(s);
          s.now += LEASE_MS;
          return (await s.expire()).expired;
        },
        1,
      ],
    ];
    for (const [name, end, answer] of others) {
      it(
        `a cancelled lease that is ${name} ends as cancelled`,
        on(async (s) => {
          expect(await end(s)).toBe(answer);
          expect(await s.queue.demand(s.app)).toMatchObject({ queued: 0, leased: 0 });
          const [which] = cancelledIds.get(s) ?? [];
          expect((await s.record(which!)).state).toBe('cancelled');
        }),
      );
    }

    it(
      'a finished request is final',
      on(async (s) => {
        const which = await s.add();
        await s.complete(await s.take());
        expect(await s.queue.cancel(s.app, which, s.now)).toBe('final');
        expect((await s.record(which)).state).toBe('succeeded');
      }),
    );

    it(
      'a requeued request that is cancelled takes no late result',
      on(async (s) => {
        const which = await s.add();
        const lease = await s.take();
        s.now += LEASE_MS;
        await s.expire();
        expect(await s.queue.cancel(s.app, which, s.now)).toBe('cancelled');
        expect(await s.complete(lease)).toBe('cancelled');
      }),
    );
  });
}

const cancelledIds = new WeakMap<Scenario, string[]>();

async function leasedAndCancelled(s: Scenario) {
  const which = await s.add();
  const lease = await s.take();
  await s.queue.cancel(s.app, which, s.now);
  cancelledIds.set(s, [which]);
  return lease;
}
