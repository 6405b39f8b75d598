// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { LeaseQueue, RequestRecord } from '#gateway/queue/lease-queue.ts';
import { UNIT_SILENT_MS } from '#gateway/queue/limits.ts';
import { LEASE_MS, id, onFresh, text } from './lease-queue.harness.ts';
import type { QueueDriver, Scenario } from './lease-queue.harness.ts';

const stored = (key: string) => ({ contentType: 'a/b', bytes: 100_000, key });

/** What every driver does for a gateway that finds out whether the queue has gone back, and goes on from there. */
export function recoverySuite(driver: QueueDriver): void {
  const on = (test: (s: Scenario) => Promise<void>): (() => Promise<void>) => onFresh(driver, test);

  describe(`${driver.name}: generations`, () => {
    it(
      'grow with every change, and with nothing else',
      on(async (s) => {
        let before = 0;
        const grown = async (): Promise<boolean> => {
          const now = await s.queue.generation(s.app);
          expect(now).toBeGreaterThanOrEqual(before);
          expect(s.queue.generations().get(s.app)).toBe(now);
          const more = now > before;
          before = now;
          return more;
        };
        const which = await s.add();
        expect(await grown()).toBe(true);
        const lease = await s.take();
        expect(await grown()).toBe(true);
        await s.queue.get(s.app, which);
        await s.queue.demand(s.app);
        await s.queue.remains(s.app);
        await s.queue.live(s.app, 10);
        await s.queue.deadLetterCount(s.app);
        await s.queue.sweep(10, s.now);
        await s.expire();
        await s.expire();
        await grown();
        expect(await grown()).toBe(false);
        const steps: (() => Promise<unknown>)[] = [
          () => s.extend(lease),
          () => s.fail(lease),
          async () => s.release(await s.take()),
          async () => s.complete(await s.take()),
          () => s.add(),
          async () => s.queue.cancel(s.app, await s.add(), s.now),
          () => s.queue.retire(s.app, 'u1', s.now),
        ];
        for (const [i, step] of steps.entries()) {
          await step();
          expect([i, await grown()]).toEqual([i, true]);
        }
      }),
    );

    it(
      'are raised where more is asked for, never lowered, and go on from there',
      on(async (s) => {
        await s.add();
        const own = await s.queue.generation(s.app);
        expect(await s.queue.generation(s.app, own + 1_000)).toBe(own + 1_000);
        expect(await s.queue.generation(s.app, 5)).toBe(own + 1_000);
        await s.add();
        expect(await s.queue.generation(s.app)).toBeGreaterThan(own + 1_000);
      }),
    );

    it(
      'outlive everything else of an app: requests that were swept, units that were forgotten',
      on(async (s) => {
        await s.queue.cancel(s.app, await s.add({ retentionMs: 0 }), s.now);
        await s.ask('u1');
        const last = await s.queue.generation(s.app);
        s.now += 2 * UNIT_SILENT_MS;
        for (let i = 0; i < 3; i++) {
          await s.sweep();
          await s.expire();
        }
        expect(await s.queue.generation(s.app)).toBeGreaterThanOrEqual(last);
      }),
    );

    it(
      'of an app of which nothing is known are 0',
      on(async (s) => {
        expect(await s.queue.generation(s.app)).toBe(0);
        expect((await s.queue.live(s.app, 10)).records).toEqual([]);
        expect(await s.queue.salvage(s.app, id(), stored('x'), s.now)).toBe('lost');
      }),
    );

    it(
      'nothing is told of a queue that only goes on',
      on(async (s) => {
        const told: unknown[] = [];
        const off = s.queue.onRegression((found) => told.push(found));
        await s.add();
        await s.complete(await s.take());
        await s.queue.generation(s.app, 500);
        expect((await s.queue.run()).length).toBeGreaterThan(0);
        expect(await s.queue.run()).toBe(await s.queue.run());
        expect(told).toEqual([]);
        off();
      }),
    );
  });

  describe(`${driver.name}: salvage`, () => {
    it(
      'what is queued or leased comes page by page without its bytes; what has ended does not',
      on(async (s) => {
        const waiting = [await s.add(), await s.add({ lane: 'batch' }), await s.add({ body: stored('k') })];
        const leased = await s.take();
        const cancelled = await s.add();
        await s.queue.cancel(s.app, cancelled, s.now);
        await s.queue.cancel(s.app, leased.id, s.now);
        const found = await allLive(s.queue, s.app);
        expect(found.map((one) => one.id).toSorted()).toEqual(waiting.toSorted());
        for (const one of found) {
          expect(one.body.inline).toBeUndefined();
          expect([one.state, one.cancelRequested]).toEqual(one.id === leased.id ? ['leased', true] : ['queued', false]);
        }
        expect(found.find((one) => one.id === waiting[2])?.body).toEqual(stored('k'));
      }),
    );

    it(
      'a lease that runs out during the walk is seen all the same',
      on(async (s) => {
        const all = [];
        for (let i = 0; i < 4; i++, s.now++) all.push(await s.add());
        await s.take();
        const first = await s.queue.live(s.app, 2);
        s.now += LEASE_MS;
        await s.expire();
        const seen = [...first.records, ...(await allLive(s.queue, s.app, first.cursor))].map((one) => one.id);
        expect([...new Set(seen)].toSorted()).toEqual(all.toSorted());
      }),
    );

    it(
      'work that moves to another revision during the walk is seen all the same',
      on(async (s) => {
        const all = [];
        for (const revision of ['r2', 'r2', 'r2', 'r1', 'r1', 'r1']) all.push(await s.add({ revision }));
        await s.ask('u1', { max: 0, revision: 'r2', currentRevision: 'r1' });
        const first = await s.queue.live(s.app, 2);
        const second = await s.queue.live(s.app, 2, first.cursor);
        await s.queue.retire(s.app, 'u1', s.now);
        await s.expire();
        const rest = await allLive(s.queue, s.app, second.cursor);
        const seen = [...first.records, ...second.records, ...rest].map((one) => one.id);
        expect(seen.toSorted()).toEqual(all.toSorted());
      }),
    );

    it(
      'a stored result ends what is queued, as if it had been run: it is told, counted, and never leased again',
      on(async (s) => {
        const which = await s.add({ dedupeKey: 'k' });
        const other = await s.add();
        expect(await s.queue.salvage(s.app, which, stored('result'), s.now)).toBe('committed');
        expect(await s.record(which)).toMatchObject({
          state: 'succeeded',
          result: stored('result'),
          finishedAt: s.now,
        });
        expect((await s.queue.demand(s.app)).queued).toBe(1);
        expect(await s.drain()).toEqual([other]);
        expect(await s.offer({ dedupeKey: 'k' })).toMatchObject({ kind: 'joined', record: { id: which } });
        expect(await s.queue.salvage(s.app, which, stored('later'), s.now)).toBe('lost');
        expect((await s.record(which)).result).toEqual(stored('result'));
      }),
    );

    it(
      'one that is leased ends too; its unit hears that the lease is gone, and that the work is done, once',
      on(async (s) => {
        const which = await s.add();
        const lease = await s.take();
        expect(await s.queue.salvage(s.app, which, stored('result'), s.now)).toBe('committed');
        expect((await s.extend(lease)).ok).toBe(false);
        expect(await s.complete(lease)).toBe('committed');
        expect((await s.record(which)).result).toEqual(stored('result'));
        expect(await s.queue.demand(s.app)).toMatchObject({ queued: 0, leased: 0 });
        expect(await s.queue.retire(s.app, 'u1', s.now)).toBe('retired');
        s.now += LEASE_MS;
        expect((await s.expire()).expired).toBe(0);
      }),
    );

    it(
      'one whose client has cancelled it ends as cancelled; the object is nobody’s',
      on(async (s) => {
        const which = await s.add();
        await s.take();
        expect(await s.queue.cancel(s.app, which, s.now)).toBe('cancelling');
        expect(await s.queue.salvage(s.app, which, stored('result'), s.now)).toBe('lost');
        expect((await s.record(which)).result).toBeUndefined();
      }),
    );

    it(
      'a suspect and one that waits between two attempts end as well',
      on(async (s) => {
        const [lost, failed] = [await s.add(), await s.add()];
        await s.take('u1');
        await s.fail(await s.take('u2'), 'handler', 'u2');
        s.now += LEASE_MS;
        await s.expire();
        for (const which of [lost, failed])
          expect(await s.queue.salvage(s.app, which, stored(which), s.now)).toBe('committed');
        expect(await s.drain('u3')).toEqual([]);
        expect((await allLive(s.queue, s.app)).length).toBe(0);
      }),
    );

    it(
      'the object of a salvaged result lives as long as its record',
      on(async (s) => {
        const which = await s.add({ retentionMs: 60_000 });
        await s.queue.salvage(s.app, which, stored('result'), s.now);
        s.now += 59_999;
        expect(await s.sweep()).toEqual([]);
        s.now += 1;
        expect(await s.sweep()).toEqual(['result']);
      }),
    );

    it(
      'small results without an object are taken as they are',
      on(async (s) => {
        const which = await s.add();
        expect(await s.queue.salvage(s.app, which, { contentType: 'a/b', bytes: 0 }, s.now)).toBe('committed');
        expect((await s.record(which)).result).toEqual({ contentType: 'a/b', bytes: 0 });
        const second = await s.add();
        expect(await s.queue.salvage(s.app, second, text('out'), s.now)).toBe('committed');
        expect(Buffer.from((await s.record(second)).result?.inline ?? []).toString()).toBe('out');
      }),
    );
  });
}

async function allLive(queue: LeaseQueue, app: string, from?: string): Promise<RequestRecord[]> {
  const found = new Map<string, RequestRecord>();
  let cursor = from;
  do {
    const page = await queue.live(app, 2, cursor);
    for (const record of page.records) found.set(record.id, record);
    cursor = page.cursor;
  } while (cursor !== undefined);
  return [...found.values()];
}
