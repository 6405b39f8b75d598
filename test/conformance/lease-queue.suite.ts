// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { NewRequest } from '#gateway/queue/lease-queue.ts';
import { COST_LIMIT_MICROS } from '#gateway/queue/limits.ts';
import { until } from '#test/until.ts';
import { LEASE_MS, T0, id, onFresh, plain, sha, text } from './lease-queue.harness.ts';
import type { QueueDriver, Scenario } from './lease-queue.harness.ts';

/** What every driver of the lease queue keeps: order, records, dedupe, wake-ups. */
export function requestSuite(driver: QueueDriver): void {
  const on = (test: (s: Scenario) => Promise<void>): (() => Promise<void>) => onFresh(driver, test);

  describe(`${driver.name}: order`, () => {
    it(
      'priority first, then deadline, then arrival',
      on(async (s) => {
        const wanted: [string, Partial<NewRequest>][] = [
          ['low', { priority: -1_000 }],
          ['second', {}],
          ['third', {}],
          ['late deadline', { deadline: T0 + 9_000 }],
          ['early deadline', { deadline: T0 + 5_000 }],
          ['high', { priority: 7 }],
          ['highest, no deadline', { priority: 1_000 }],
          ['highest, deadline', { priority: 1_000, deadline: T0 + 1_000_000 }],
        ];
        const ids = new Map<string, string>();
        for (const [name, changes] of wanted) ids.set(await s.add(changes), name);
        const order = (await s.drain()).map((one) => ids.get(one));
        expect(order).toEqual([
          'highest, deadline',
          'highest, no deadline',
          'high',
          'early deadline',
          'late deadline',
          'second',
          'third',
          'low',
        ]);
      }),
    );

    it(
      'online before batch, and only the lanes that were asked for',
      on(async (s) => {
        const batch = await s.add({ lane: 'batch', priority: 1_000 });
        const online = await s.add();
        expect(await s.drain('u1', { lanes: ['batch', 'online'], max: 5 })).toEqual([online, batch]);
        await s.add({ lane: 'batch' });
        expect((await s.ask('u2', { lanes: ['online'] })).leases).toEqual([]);
        expect((await s.ask('u2', { lanes: [] })).leases).toEqual([]);
      }),
    );

    it(
      'tenants in turns by what they have had, each in its own order',
      on(async (s) => {
        const a1 = await s.add({ tenant: 'a' });
        const a2 = await s.add({ tenant: 'a', priority: 5 });
        const a3 = await s.add({ tenant: 'a' });
        const b1 = await s.add({ tenant: 'b' });
        const b2 = await s.add({ tenant: 'b', cost: 9_000 });
        const b3 = await s.add({ tenant: 'b' });
        // Both start from nothing, so by name; after b2 a may have its next ones first.
        expect(await s.drain('u1', { max: 3 })).toEqual([a2, b1, a1, b2, a3, b3]);
      }),
    );

    it(
      'one enqueue call of many keeps their order and answers in it',
      on(async (s) => {
        const requests = Array.from({ length: 150 }, () => s.request());
        const outcomes = await s.queue.enqueue(requests, s.now);
        expect(outcomes.map((one) => one.kind === 'queued' && one.record.id)).toEqual(requests.map((one) => one.id));
        expect(await s.drain('u1', { max: 64 })).toEqual(requests.map((one) => one.id));
      }),
    );

    it(
      'what comes back keeps its place: after a failure and a release',
      on(async (s) => {
        const ids = [await s.add(), await s.add(), await s.add(), await s.add()];
        const { leases } = await s.ask('u1', { max: 3 });
        await s.release(leases[2]!);
        await s.fail(leases[0]!);
        await s.fail(leases[1]!, 'timeout');
        expect(await s.drain('u2')).toEqual(ids);
      }),
    );

    it(
      'nothing waits behind what is already leased',
      on(async (s) => {
        await s.add();
        await s.take();
        const next = await s.add({ priority: -5 });
        expect((await s.take('u2')).id).toBe(next);
      }),
    );
  });

  describe(`${driver.name}: record`, () => {
    it(
      'comes back as it went in, at every state',
      on(async (s) => {
        const bytes = Buffer.from(Array.from({ length: 16_384 }, (_, i) => i % 256));
        const request = s.request({
          tenant: 'team/a.b:c@d',
          lane: 'batch',
          priority: -3,
          deadline: T0 + 1e6,
          cost: COST_LIMIT_MICROS,
          body: {
            contentType: 'application/octet-stream; x="é"',
            contentEncoding: 'gzip',
            bytes: bytes.length,
            inline: bytes,
          },
          dedupeKey: 'scope:ключ\u0000',
          fingerprint: sha('x'),
          traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
        });
        const { fingerprint: _hidden, ...visible } = request;
        const [outcome] = await s.queue.enqueue([request], s.now);
        const queued = {
          ...visible,
          state: 'queued',
          createdAt: T0,
          epoch: 0,
          attempts: [],
          failures: 0,
          losses: 0,
          deadLetter: false,
          cancelRequested: false,
        };
        expect(plain(outcome)).toEqual(plain({ kind: 'queued', record: queued }));
        expect(plain(await s.record(request.id))).toEqual(plain(queued));

        s.now += 5;
        const lease = await s.take();
        const running = { epoch: 1, unit: 'u1', leasedAt: T0 + 5 };
        expect(plain(lease.record)).toEqual(plain({ ...queued, state: 'leased', epoch: 1, attempts: [running] }));
        expect(plain(await s.record(request.id))).toEqual(plain(lease.record));
        expect(lease.expiresAt).toBe(T0 + 5 + LEASE_MS);

        s.now += 7;
        const result = { contentType: 'image/png', bytes: 3, inline: Buffer.from([0, 255, 10]) };
        expect(await s.complete(lease, 'u1', result)).toBe('committed');
        expect(plain(await s.record(request.id))).toEqual(
          plain({
            ...queued,
            state: 'succeeded',
            epoch: 1,
            finishedAt: T0 + 12,
            attempts: [{ ...running, endedAt: T0 + 12, outcome: 'succeeded' }],
            result,
            serviceMicros: 1_234,
          }),
        );
      }),
    );

    it(
      'holds an empty body, an object key and an empty result',
      on(async (s) => {
        const empty = await s.add({ body: text('') });
        const stored = await s.add({ body: { contentType: 'a/b', bytes: 1e9, key: 'v1/app/body' } });
        for (const lease of (await s.ask('u1', { max: 2 })).leases) await s.complete(lease, 'u1', text(''));
        expect((await s.record(empty)).body).toEqual({ contentType: 'text/plain', bytes: 0 });
        expect((await s.record(empty)).result).toEqual({ contentType: 'text/plain', bytes: 0 });
        expect((await s.record(stored)).body).toEqual({ contentType: 'a/b', bytes: 1e9, key: 'v1/app/body' });
      }),
    );

    it(
      'of another app, an unknown or a malformed id is no record',
      on(async (s) => {
        const mine = await s.add();
        expect(await s.queue.get('other-app', mine)).toBeUndefined();
        expect(await s.queue.get(s.app, id())).toBeUndefined();
        expect(await s.queue.get(s.app, "'; drop")).toBeUndefined();
        expect(await s.queue.outcome('other-app', mine)).toBeUndefined();
        expect(await s.queue.outcome(s.app, id())).toBeUndefined();
        expect(await s.queue.outcome(s.app, "'; drop")).toBeUndefined();
        expect(await s.queue.cancel('other-app', mine)).toBe('unknown');
        expect(await s.queue.cancel(s.app, 'x')).toBe('unknown');
      }),
    );
  });

  describe(`${driver.name}: dedupe`, () => {
    it(
      'an equal request joins while the first is queued, leased or succeeded',
      on(async (s) => {
        const same = { dedupeKey: 'k', fingerprint: sha('body') };
        const first = await s.add(same);
        const kinds: unknown[] = [];
        const join = async (): Promise<void> => {
          const outcome = await s.offer(same);
          kinds.push([outcome.kind, outcome.kind === 'joined' && [outcome.record.id === first, outcome.record.state]]);
        };
        await join();
        const lease = await s.take();
        await join();
        await s.complete(lease);
        await join();
        expect(kinds).toEqual([
          ['joined', [true, 'queued']],
          ['joined', [true, 'leased']],
          ['joined', [true, 'succeeded']],
        ]);
        expect((await s.queue.demand(s.app)).queued).toBe(0);
      }),
    );

    it(
      'a repeat of what is being cancelled is new work',
      on(async (s) => {
        const first = await s.add({ dedupeKey: 'k' });
        const lease = await s.take();
        expect(await s.queue.cancel(s.app, first, s.now)).toBe('cancelling');
        const again = await s.offer({ dedupeKey: 'k' });
        expect(again).toMatchObject({ kind: 'queued', record: { state: 'queued' } });
        expect(await s.complete(lease)).toBe('cancelled');
        // The end of the old one takes nothing from the new one.
        expect(await s.offer({ dedupeKey: 'k' })).toMatchObject({ kind: 'joined', record: { state: 'queued' } });
      }),
    );

    it(
      'a repeat of what is past its retention is new work, swept or not',
      on(async (s) => {
        const first = await s.add({ dedupeKey: 'k', retentionMs: 1_000 });
        await s.complete(await s.take());
        s.now += 999;
        expect(await s.offer({ dedupeKey: 'k' })).toMatchObject({ kind: 'joined', record: { id: first } });
        s.now += 1;
        expect(await s.offer({ dedupeKey: 'k' })).toMatchObject({ kind: 'queued' });
      }),
    );

    it(
      'joins inside one call too',
      on(async (s) => {
        const requests = 'kkklkl'.split('').map((dedupeKey) => s.request({ dedupeKey }));
        const outcomes = await s.queue.enqueue(requests, s.now);
        expect(outcomes.map((one) => one.kind)).toEqual(['queued', 'joined', 'joined', 'queued', 'joined', 'joined']);
        expect((await s.queue.demand(s.app)).queued).toBe(2);
      }),
    );

    const ends: [string, (s: Scenario, which: string) => Promise<unknown>][] = [
      ['failed', async (s) => s.fail(await s.take(), 'input')],
      ['cancelled', (s, which) => s.queue.cancel(s.app, which, s.now)],
      [
        'expired',
        (s) => {
          s.now += 10_001;
          return s.expire();
        },
      ],
    ];
    for (const [state, end] of ends) {
      it(
        `a ${state} request is not joined: a new one starts`,
        on(async (s) => {
          const first = await s.add({ dedupeKey: 'k', deadline: T0 + 10_000 });
          await end(s, first);
          expect((await s.record(first)).state).toBe(state);
          const second = await s.offer({ dedupeKey: 'k' });
          expect([second.kind, second.kind === 'queued' && second.record.id !== first]).toEqual(['queued', true]);
          expect((await s.offer({ dedupeKey: 'k' })).kind).toBe('joined');
        }),
      );
    }

    it(
      'the same key with another fingerprint conflicts; without one it joins',
      on(async (s) => {
        const first = await s.add({ dedupeKey: 'k', fingerprint: sha('a') });
        expect(await s.offer({ dedupeKey: 'k', fingerprint: sha('b') })).toEqual({ kind: 'conflict', id: first });
        expect((await s.offer({ dedupeKey: 'k' })).kind).toBe('joined');
      }),
    );

    it(
      'is scoped to the app',
      on(async (s) => {
        await s.add({ dedupeKey: 'k' });
        expect((await s.offer({ dedupeKey: 'k', app: `${s.app}-2` })).kind).toBe('queued');
      }),
    );

    it(
      'the repeat of an enqueue whose answer was lost changes nothing',
      on(async (s) => {
        const request = s.request();
        await s.queue.enqueue([request], s.now);
        const [again] = await s.queue.enqueue([request], s.now + 9);
        expect([again!.kind, again!.kind === 'queued' && again!.record.createdAt]).toEqual(['queued', T0]);
        expect((await s.queue.demand(s.app)).queued).toBe(1);
      }),
    );

    it(
      'the body of a request that joined is swept',
      on(async (s) => {
        const body = (key: string) => ({ contentType: 'a/b', bytes: 99_999, key });
        await s.add({ dedupeKey: 'k', body: body('first') });
        await s.offer({ dedupeKey: 'k', body: body('second') });
        await s.offer({ dedupeKey: 'k', body: body('first') });
        expect(await s.sweep()).toEqual(['second']);
      }),
    );
  });

  describe(`${driver.name}: wake-ups`, () => {
    it(
      'work that appears or returns is announced, and so is every end',
      on(async (s) => {
        const heard = s.listen();
        await s.queue.ping();
        const which = await until(
          async () => {
            const made = await s.add();
            return heard.events.length > 0 && made;
          },
          { what: 'the first wake-up' },
        );
        heard.events.length = 0;
        const leases = (await s.ask('u1', { max: 50 })).leases;
        const lease = leases.find((one) => one.id === which)!;
        await s.fail(lease);
        await until(() => heard.events.some((one) => one.type === 'ready'), { what: 'ready after a failure' });
        await s.complete(await s.take());
        await until(() => heard.events.some((one) => one.type === 'done' && one.id === which), { what: 'done' });
        heard.stop();
        heard.events.length = 0;
        await s.add();
        await s.queue.ping();
        expect(heard.events).toEqual([]);
      }),
    );
  });
}
