// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { DEAD_LETTER_RETENTION_MS } from '#gateway/queue/limits.ts';
import type { DeadLetterFilter, NewRequest, RedriveOutcome, TenantShare } from '#gateway/queue/lease-queue.ts';
import { LEASE_MS, T0, id, onFresh } from './lease-queue.harness.ts';
import type { QueueDriver, Scenario } from './lease-queue.harness.ts';

const stored = (key: string) => ({ contentType: 'a/b', bytes: 100_000, key });

/** A request that has spent its budget of attempts, or of losses. */
async function bury(
  s: Scenario,
  changes: Partial<NewRequest> = {},
  kind: 'handler' | 'lost' = 'handler',
): Promise<string> {
  const which = await s.add({ retry: { maxAttempts: 1, maxLosses: 0 }, priority: 1_000, ...changes });
  const lease = await s.take();
  expect([lease.id, await s.fail(lease, kind)]).toEqual([which, 'failed']);
  return which;
}

async function listed(s: Scenario, filter: DeadLetterFilter = {}, limit = 2): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await s.queue.deadLetters(s.app, filter, limit, cursor);
    expect(page.letters.length).toBeLessThanOrEqual(limit);
    ids.push(...page.letters.map((one) => one.id));
    cursor = page.cursor;
  } while (cursor !== undefined);
  return ids;
}

async function redrive(
  s: Scenario,
  letter: string,
  revision = 'r1',
  newId = id(),
  share?: TenantShare,
): Promise<RedriveOutcome> {
  const call = { id: letter, newId, revision, ...(share === undefined ? {} : { share }) };
  const [outcome] = await s.queue.redrive(s.app, [call], s.now);
  return outcome!;
}

/** So many letters of one tenant, as quickly as may be. */
async function buryMany(s: Scenario, tenant: string, count: number): Promise<void> {
  const retry = { maxAttempts: 1, maxLosses: 0 };
  for (let left = count; left > 0; left -= 100) {
    const some = Math.min(left, 100);
    await s.queue.enqueue(
      Array.from({ length: some }, () => s.request({ tenant, retry })),
      s.now,
    );
    const { leases } = await s.ask('u1', { max: some });
    const failures = leases.map((one) => ({ ...one, cause: { kind: 'handler' as const, message: 'x' } }));
    const outcomes = await s.queue.fail(s.app, 'u1', failures, s.now);
    expect(outcomes).toEqual(Array.from({ length: some }, () => 'failed'));
  }
}

/** What every driver of the lease queue keeps of requests that were given up: list, redrive, discard. */
export function letterSuite(driver: QueueDriver): void {
  const on = (test: (s: Scenario) => Promise<void>): (() => Promise<void>) => onFresh(driver, test);

  describe(`${driver.name}: dead letters`, () => {
    it(
      'hold the causes and the whole timeline of both budgets',
      on(async (s) => {
        const which = await s.add({ body: stored('body'), retry: { maxAttempts: 2, maxLosses: 5 } });
        await s.fail(await s.take());
        await s.take('u2');
        s.now += LEASE_MS;
        await s.expire();
        await s.fail(await s.take('u3'), 'timeout', 'u3');
        const { letters } = await s.queue.deadLetters(s.app, {}, 10);
        expect(letters).toHaveLength(1);
        expect(letters[0]).toMatchObject({
          id: which,
          state: 'failed',
          deadLetter: true,
          failures: 2,
          losses: 1,
          body: stored('body'),
          cause: { kind: 'timeout', message: 'because timeout' },
          attempts: [
            { epoch: 1, unit: 'u1', leasedAt: T0, endedAt: T0, outcome: 'handler' },
            { epoch: 2, unit: 'u2', leasedAt: T0, endedAt: s.now, outcome: 'lost' },
            { epoch: 3, unit: 'u3', leasedAt: s.now, endedAt: s.now, outcome: 'timeout', message: 'because timeout' },
          ],
        });
        expect(await s.queue.deadLetterCount(s.app)).toBe(1);
      }),
    );

    it(
      'come page by page, oldest death first, filtered by tenant, cause and time',
      on(async (s) => {
        const all: string[] = [];
        for (const [tenant, kind] of [
          ['a', 'handler'],
          ['b', 'lost'],
          ['a', 'lost'],
          ['b', 'handler'],
          ['a', 'handler'],
        ] as const) {
          all.push(await bury(s, { tenant }, kind));
          s.now += 10;
        }
        const pick = (...places: number[]): string[] => places.map((i) => all[i]!);
        expect(await listed(s)).toEqual(all);
        expect(await listed(s, {}, 100)).toEqual(all);
        expect(await listed(s, { tenant: 'a' })).toEqual(pick(0, 2, 4));
        expect(await listed(s, { kind: 'lost' })).toEqual(pick(1, 2));
        expect(await listed(s, { tenant: 'a', kind: 'lost' })).toEqual(pick(2));
        expect(await listed(s, { tenant: 'nobody' })).toEqual([]);
        expect(await listed(s, { since: T0 + 10, until: T0 + 30 })).toEqual(pick(1, 2));
        expect(await listed(s, { since: T0 + 41 })).toEqual([]);
        expect(await s.queue.deadLetterCount(s.app)).toBe(5);
      }),
    );

    it(
      'of other tenants cost a page of one tenant nothing, nor does a cursor tell of them',
      on(async (s) => {
        await buryMany(s, 'a', 300);
        const own = await bury(s, { tenant: 'b' });
        await buryMany(s, 'a', 10);
        const page = (limit: number, filter: DeadLetterFilter = {}, cursor?: string) =>
          s.queue.deadLetters(s.app, { tenant: 'b', ...filter }, limit, cursor);
        for (const limit of [1, 2, 100]) {
          const { letters, ...rest } = await page(limit);
          expect([letters.map((one) => one.id), rest]).toEqual([[own], {}]);
        }
        expect(await page(1, { kind: 'lost' })).toEqual({ letters: [] });
        expect(await page(1, { since: T0 + 1 })).toEqual({ letters: [] });
        expect(await s.queue.deadLetters(s.app, { tenant: 'c' }, 1)).toEqual({ letters: [] });
        s.now += 10;
        const second = await bury(s, { tenant: 'b' });
        const first = await page(1);
        expect(first.letters.map((one) => one.id)).toEqual([own]);
        const { letters, ...rest } = await page(1, {}, first.cursor);
        expect([letters.map((one) => one.id), rest]).toEqual([[second], {}]);
        await s.queue.discard(s.app, [own], s.now);
        await redrive(s, second);
        expect(await page(1)).toEqual({ letters: [] });
        expect(await s.queue.deadLetterCount(s.app)).toBe(310);
      }),
    );

    it(
      'are none of bad input, of success, of cancel, of another app',
      on(async (s) => {
        await s.add();
        await s.fail(await s.take(), 'input');
        await s.queue.cancel(s.app, await s.add(), s.now);
        await s.add();
        await s.complete(await s.take());
        await bury(s);
        expect((await s.queue.deadLetters('other-app', {}, 10)).letters).toEqual([]);
        expect(await s.queue.deadLetterCount('other-app')).toBe(0);
        expect(await s.queue.deadLetterCount(s.app)).toBe(1);
      }),
    );

    it(
      'stay for a fortnight at least, whatever the retention, and their bodies with them',
      on(async (s) => {
        const which = await bury(s, { retentionMs: 1_000, body: stored('body') });
        s.now += DEAD_LETTER_RETENTION_MS - 1;
        expect(await s.sweep()).toEqual([]);
        expect(await listed(s)).toEqual([which]);
        s.now += 1;
        expect(await s.sweep()).toEqual(['body']);
        expect([await listed(s), await s.queue.deadLetterCount(s.app)]).toEqual([[], 0]);
        expect(await s.queue.get(s.app, which)).toBeUndefined();
      }),
    );

    it(
      'go with the purge of their app',
      on(async (s) => {
        await bury(s, { body: stored('body') });
        const first = await s.queue.purge(s.app, 10, s.now);
        expect(first.orphans).toEqual(['body']);
        await s.queue.forget(first.orphans);
        while (!(await s.queue.purge(s.app, 10, s.now)).done);
        expect([await listed(s), await s.queue.deadLetterCount(s.app)]).toEqual([[], 0]);
      }),
    );
  });

  describe(`${driver.name}: discard`, () => {
    it(
      'takes letters off the list; their records go after their own retention',
      on(async (s) => {
        const [gone, kept] = [await bury(s, { retentionMs: 5_000, body: stored('body') }), await bury(s)];
        const alive = await s.add();
        expect(await s.queue.discard(s.app, [gone, alive, id()], s.now)).toBe(1);
        expect(await s.queue.discard(s.app, [gone], s.now)).toBe(0);
        expect([await listed(s), await s.queue.deadLetterCount(s.app)]).toEqual([[kept], 1]);
        expect(await s.record(gone)).toMatchObject({ state: 'failed', deadLetter: false, cause: { kind: 'handler' } });
        expect(await redrive(s, gone)).toEqual({ kind: 'unknown' });
        s.now += 5_000;
        expect(await s.sweep()).toEqual(['body']);
        expect(await s.queue.get(s.app, gone)).toBeUndefined();
      }),
    );
  });

  describe(`${driver.name}: redrive`, () => {
    it(
      'makes a new request of the same content with fresh budgets; the letter leaves the list and names it',
      on(async (s) => {
        const shape = { lane: 'batch', tenant: 'a', cost: 77, priority: 5, dedupeKey: 'a:r1:k:1' } as const;
        const letter = await bury(s, { ...shape, deadline: T0 + 50 });
        const old = await s.record(letter);
        s.now += 100;
        const newId = id();
        const outcome = await redrive(s, letter, 'r2', newId);
        const { deadline: _passed, cause: _cause, attempts: _attempts, ...same } = old;
        expect(outcome).toEqual({
          kind: 'redriven',
          record: {
            ...same,
            id: newId,
            revision: 'r2',
            state: 'queued',
            createdAt: s.now,
            epoch: 0,
            attempts: [],
            failures: 0,
            losses: 0,
            deadLetter: false,
            finishedAt: undefined,
          },
        });
        expect(await s.record(letter)).toMatchObject({ state: 'failed', deadLetter: false, redrivenAs: newId });
        expect([await listed(s), await s.queue.deadLetterCount(s.app)]).toEqual([[], 0]);
        const lease = await s.take('u2', { revision: 'r2' });
        expect(lease.id).toBe(newId);
        expect(Buffer.from(lease.record.body.inline!).toString()).toBe('in');
        expect(await s.complete(lease, 'u2')).toBe('committed');
        expect((await s.record(letter)).state).toBe('failed');
      }),
    );

    it(
      'the repeat of a call answers the request that was made, and makes none',
      on(async (s) => {
        const letter = await bury(s);
        const newId = id();
        await redrive(s, letter, 'r1', newId);
        expect(await redrive(s, letter, 'r1', newId)).toMatchObject({ kind: 'redriven', record: { id: newId } });
        expect(await redrive(s, letter, 'r1', id())).toMatchObject({ kind: 'redriven', record: { id: newId } });
        expect(await s.drain('u2')).toEqual([newId]);
      }),
    );

    it(
      'the body object belongs to the new request from then on',
      on(async (s) => {
        const letter = await bury(s, { body: stored('body'), retentionMs: 1_000 });
        const outcome = await redrive(s, letter);
        expect(outcome).toMatchObject({ kind: 'redriven', record: { body: stored('body') } });
        s.now += DEAD_LETTER_RETENTION_MS;
        expect(await s.sweep()).toEqual([]);
        await s.complete(await s.take('u2'), 'u2');
        s.now += 1_000;
        expect(await s.sweep()).toEqual(['body']);
        s.now += DEAD_LETTER_RETENTION_MS;
        expect([await s.queue.forget(['body']), await s.sweep(), await s.queue.get(s.app, letter)]).toEqual([
          undefined,
          [],
          undefined,
        ]);
      }),
    );

    it(
      'an equal request that is under way, or has succeeded, is joined; the letter keeps its own body',
      on(async (s) => {
        const letter = await bury(s, { dedupeKey: 'k', body: stored('old') });
        const again = await s.add({ dedupeKey: 'k', body: stored('new'), retentionMs: 1e10 });
        expect(await redrive(s, letter)).toMatchObject({ kind: 'joined', record: { id: again, body: stored('new') } });
        expect(await s.record(letter)).toMatchObject({ redrivenAs: again, deadLetter: false });
        expect(await s.drain('u2')).toEqual([again]);
        s.now += DEAD_LETTER_RETENTION_MS;
        expect(await s.sweep()).toEqual(['old']);
      }),
    );

    it(
      'a repeat of the original call joins the new request, with the same content only',
      on(async (s) => {
        const letter = await bury(s, { dedupeKey: 'k', fingerprint: 'f1' });
        const newId = id();
        await redrive(s, letter, 'r1', newId);
        expect(await s.offer({ dedupeKey: 'k', fingerprint: 'f1' })).toMatchObject({
          kind: 'joined',
          record: { id: newId },
        });
        expect(await s.offer({ dedupeKey: 'k', fingerprint: 'f2' })).toEqual({ kind: 'conflict', id: newId });
      }),
    );

    it(
      'one that fails again is a dead letter of its own',
      on(async (s) => {
        const letter = await bury(s);
        const newId = id();
        await redrive(s, letter, 'r1', newId);
        expect(await s.fail(await s.take('u2'), 'lost', 'u2')).toBe('failed');
        expect(await listed(s)).toEqual([newId]);
        expect(await redrive(s, newId)).toMatchObject({ kind: 'redriven' });
      }),
    );

    it(
      'many in one call, each judged by itself; what is no dead letter is not known',
      on(async (s) => {
        const letters = [await bury(s), await bury(s)];
        const alive = await s.add();
        const wanted = [letters[0]!, alive, id(), letters[1]!].map((one) => ({ id: one, newId: id(), revision: 'r1' }));
        const outcomes = await s.queue.redrive(s.app, wanted, s.now);
        expect(outcomes.map((one) => one.kind)).toEqual(['redriven', 'unknown', 'unknown', 'redriven']);
        expect((await s.queue.demand(s.app)).queued).toBe(3);
        const many = Array.from({ length: 257 }, () => wanted[0]!);
        await expect(s.queue.redrive(s.app, many, s.now)).rejects.toMatchObject({ code: 'invalid' });
      }),
    );

    it(
      'tells the share of a tenant that the queue has forgotten, and refuses one that is none',
      on(async (s) => {
        const share = { weight: 3, maxInFlight: 1, maxQueued: 2 };
        const letters = [await bury(s, { share, tenant: 'a' }), await bury(s, { share, tenant: 'a' })];
        // The others have gone past it: nothing of it is left.
        await s.add({ tenant: 'z', cost: 1_000_000 });
        await s.complete(await s.take());
        await s.expire();
        for (const letter of letters) expect((await redrive(s, letter, 'r1', id(), share)).kind).toBe('redriven');
        expect((await s.offer({ tenant: 'a' })).kind).toBe('full');
        expect((await s.ask('u2', { max: 5 })).leases).toHaveLength(1);
        await expect(redrive(s, letters[0]!, 'r1', id(), { weight: 0 })).rejects.toMatchObject({ code: 'invalid' });
      }),
    );

    it(
      'is not refused where the tenant’s queue is full, nor possible in an app that is being purged',
      on(async (s) => {
        const share = { weight: 1, maxQueued: 1 };
        const [first, second] = [await bury(s, { share }), await bury(s, { share })];
        await s.add({ share });
        expect((await redrive(s, first)).kind).toBe('redriven');
        expect((await s.offer({ share })).kind).toBe('full');
        await s.queue.purge(s.app, 10, s.now);
        expect(await redrive(s, second)).toEqual({ kind: 'closed' });
      }),
    );
  });
}
