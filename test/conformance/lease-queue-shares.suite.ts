// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import type { NewRequest, TenantShare } from '#gateway/queue/lease-queue.ts';
import { ASSUMED_COST_MICROS } from '#gateway/queue/limits.ts';
import { until } from '#test/until.ts';
import { onFresh, text } from './lease-queue.harness.ts';
import type { QueueDriver, Scenario } from './lease-queue.harness.ts';

const SECOND = 1_000_000;

/** Queues `count` requests of each tenant that cost three GPU-seconds each; the tenants in the order of leasing, until none are left. */
async function turns(s: Scenario, count: number, shares: Readonly<Record<string, number>>): Promise<string> {
  for (const [tenant, weight] of Object.entries(shares))
    for (let i = 0; i < count; i++) await s.add({ tenant, cost: 3 * SECOND, share: { weight } });
  return (await tenantsOf(s, await s.drain('u1', { max: 64 }))).join('');
}

async function tenantsOf(s: Scenario, ids: readonly string[]): Promise<string[]> {
  return Promise.all(ids.map(async (one) => (await s.record(one)).tenant));
}

/** Leases one and says how long it took. */
async function serve(
  s: Scenario,
  serviceMicros: number,
  changes: Parameters<Scenario['take']>[1] = {},
): Promise<string> {
  const { id, token, record } = await s.take('u1', changes);
  await s.queue.complete(s.app, 'u1', [{ id, token, result: text(''), serviceMicros }], s.now);
  return record.tenant;
}

/** Listens, and has heard of all that was before: an end is told after all that came before it. */
async function listening(s: Scenario): Promise<ReturnType<Scenario['listen']>> {
  const heard = s.listen();
  const heardOf = async (): Promise<boolean> => {
    const marker = await s.add({ tenant: 'marker' });
    await s.queue.cancel(s.app, marker, s.now);
    await s.queue.ping();
    return heard.events.some((one) => one.type === 'done');
  };
  await until(heardOf, { what: 'a subscription' });
  const last = await s.add({ tenant: 'marker' });
  await s.queue.cancel(s.app, last, s.now);
  await until(() => heard.events.some((one) => one.type === 'done' && one.id === last), { what: 'the last marker' });
  heard.events.length = 0;
  return heard;
}

/** What every driver of the lease queue keeps: shares of GPU time, caps of tenants. The exact order is proved by fair-differential. */
export function shareSuite(driver: QueueDriver): void {
  const on = (test: (s: Scenario) => Promise<void>): (() => Promise<void>) => onFresh(driver, test);

  describe(`${driver.name}: weights`, () => {
    it(
      'equal tenants take turns, whoever came first',
      on(async (s) => expect(await turns(s, 3, { c: 1, a: 1, b: 1 })).toBe('abcabcabc')),
    );

    it(
      'the heavier one has more turns',
      on(async (s) => expect(await turns(s, 4, { a: 1, b: 3 })).toBe('abbbabaa')),
    );

    it(
      'GPU time counts, not requests',
      on(async (s) => {
        for (let i = 0; i < 2; i++) await s.add({ tenant: 'a', cost: 3 * SECOND });
        for (let i = 0; i < 5; i++) await s.add({ tenant: 'b', cost: SECOND });
        expect((await tenantsOf(s, await s.drain())).join('')).toBe('abbbabb');
      }),
    );

    it(
      'a changed weight holds for what is leased from then on',
      on(async (s) => {
        for (const tenant of ['a', 'b']) for (let i = 0; i < 6; i++) await s.add({ tenant, cost: 6 * SECOND });
        expect([await serve(s, 6 * SECOND), await serve(s, 6 * SECOND)]).toEqual(['a', 'b']);
        await s.queue.setShares(s.app, new Map([['b', { weight: 3 }]]), s.now);
        const order = [];
        for (let i = 0; i < 8; i++) order.push(await serve(s, 6 * SECOND));
        expect(order.join('')).toBe('abbbabba');
      }),
    );
  });

  describe(`${driver.name}: charges`, () => {
    it(
      'what really was used is charged in the end: who said too little waits, who said too much does not',
      on(async (s) => {
        for (const tenant of ['a', 'b'])
          for (let i = 0; i < 8; i++) await s.add({ tenant, cost: tenant === 'a' ? 1 : 100 * SECOND });
        const order = [];
        for (let i = 0; i < 8; i++) order.push(await serve(s, order.length === 0 ? 4 * SECOND : SECOND));
        // a had four seconds at once, so b has four turns before a has another one.
        expect(order.join('')).toBe('abbbbaba');
      }),
    );

    it(
      'a failed attempt costs its time, a released one nothing',
      on(async (s) => {
        for (const tenant of ['a', 'b']) for (let i = 0; i < 4; i++) await s.add({ tenant, cost: SECOND });
        const released = await s.take();
        s.now += 5_000;
        await s.release(released);
        const failed = await s.take();
        expect([released.record.tenant, failed.id]).toEqual(['a', released.id]);
        s.now += 3_000;
        await s.fail(failed);
        const order = [];
        for (let i = 0; i < 4; i++) order.push(await serve(s, SECOND));
        expect(order.join('')).toBe('bbba');
      }),
    );

    it(
      'part of a GPU costs its part',
      on(async (s) => {
        for (const tenant of ['a', 'b']) for (let i = 0; i < 6; i++) await s.add({ tenant, cost: SECOND });
        // a is measured on half a GPU.
        expect(await serve(s, 4 * SECOND, { fractionMicros: 500_000 })).toBe('a');
        const order = [];
        for (let i = 0; i < 4; i++) order.push(await serve(s, SECOND));
        expect(order.join('')).toBe('bbab');
      }),
    );

    it(
      'service times are learned, apart for small and large bodies',
      on(async (s) => {
        const large = { contentType: 'a/b', bytes: 1_000_000, key: 'k' };
        const all: Partial<NewRequest>[] = [{ body: large }, {}];
        for (let i = 0; i < 30; i++) for (const changes of all) await s.add({ tenant: 'teacher', cost: 0, ...changes });
        for (let i = 0; i < 60; i++) {
          const lease = await s.take();
          const serviceMicros = lease.record.body.key === undefined ? SECOND : 10 * SECOND;
          const { id, token } = lease;
          await s.queue.complete(s.app, 'u1', [{ id, token, result: text(''), serviceMicros }], s.now);
        }
        for (let i = 0; i < 25; i++) await s.add({ tenant: 'small', cost: 0 });
        for (let i = 0; i < 3; i++) await s.add({ tenant: 'large', cost: 0, body: large });
        const order = (await tenantsOf(s, await s.drain('u1', { max: 64 }))).map((one) => one[0]).join('');
        // Without a look at the measured times between them: ten small ones to each large one.
        expect(order).toBe(`l${'s'.repeat(10)}l${'s'.repeat(10)}l${'s'.repeat(5)}`);
      }),
    );

    it(
      'where nothing is known a second is assumed',
      on(async (s) => {
        for (let i = 0; i < 2; i++) await s.add({ tenant: 'a', cost: 0 });
        for (let i = 0; i < 5; i++) await s.add({ tenant: 'b', cost: ASSUMED_COST_MICROS / 4 });
        expect((await tenantsOf(s, await s.drain('u1', { max: 64 }))).join('')).toBe('abbbbab');
      }),
    );
  });

  describe(`${driver.name}: idle tenants`, () => {
    it(
      'who was idle has no credit: it goes on where the others are',
      on(async (s) => {
        for (let i = 0; i < 20; i++) await s.add({ tenant: 'a', cost: SECOND });
        for (let i = 0; i < 10; i++) await serve(s, SECOND);
        for (let i = 0; i < 10; i++) await s.add({ tenant: 'b', cost: SECOND });
        const order = [];
        for (let i = 0; i < 10; i++) order.push(await serve(s, SECOND));
        expect(order.join('')).toBe('ababababab');
      }),
    );

    it(
      'who worked alone has no penalty for that: after an idle moment all start anew',
      on(async (s) => {
        for (let i = 0; i < 20; i++) await s.add({ tenant: 'a', cost: 100 * SECOND });
        for (let i = 0; i < 20; i++) await serve(s, 100 * SECOND);
        expect(await turns(s, 3, { b: 1, a: 1 })).toBe('ababab');
      }),
    );
  });

  describe(`${driver.name}: caps`, () => {
    const share = (changes: Partial<TenantShare>): Partial<NewRequest> => ({ share: { weight: 1, ...changes } });

    it(
      'a tenant at its cap is passed over until one of its leases ends, and its place is kept',
      on(async (s) => {
        const mine = [];
        for (let i = 0; i < 4; i++) mine.push(await s.add({ tenant: 'a', ...share({ maxInFlight: 2 }) }));
        const theirs = await s.add({ tenant: 'b' });
        const { leases } = await s.ask('u1', { max: 9 });
        expect(leases.map((one) => one.id)).toEqual([mine[0], theirs, mine[1]]);
        // It stays: there is work, though not for now.
        expect(await s.ask('u2', { lingerMs: 0 })).toEqual({ leases: [], verdict: 'stay' });
        await s.complete(leases[1]!);
        expect((await s.ask('u2')).leases).toEqual([]);
        await s.complete(leases[0]!);
        const third = await s.take('u2');
        expect([third.id, (await s.ask('u2')).leases]).toEqual([mine[2], []]);
        await s.release(leases[2]!);
        expect((await s.take('u3')).id).toBe(mine[1]);
        await s.fail(third, 'input', 'u2');
        expect(await s.drain('u2')).toEqual([mine[3]]);
      }),
    );

    it(
      'the end of a lease at the cap is announced: work waits for it',
      on(async (s) => {
        for (let i = 0; i < 2; i++) await s.add({ ...share({ maxInFlight: 1 }) });
        const lease = await s.take();
        const heard = await listening(s);
        await s.complete(lease);
        await until(() => heard.events.some((one) => one.type === 'ready'), { what: 'ready after the end of a lease' });
        heard.stop();
        expect((await s.take()).token.epoch).toBe(1);
      }),
    );

    it(
      'a changed cap holds at once, and growing is announced',
      on(async (s) => {
        for (let i = 0; i < 4; i++) await s.add({ ...share({ maxInFlight: 0 }) });
        expect((await s.ask('u1')).leases).toEqual([]);
        const heard = await listening(s);
        await s.queue.setShares(s.app, new Map([['acme', { weight: 1, maxInFlight: 3 }]]), s.now);
        await until(() => heard.events.some((one) => one.type === 'ready'), { what: 'ready after a cap has grown' });
        heard.stop();
        expect((await s.ask('u1', { max: 2 })).leases.length).toBe(2);
        await s.queue.setShares(s.app, new Map([['acme', { weight: 1, maxInFlight: 2 }]]), s.now);
        expect((await s.ask('u2', { max: 2 })).leases).toEqual([]);
        await s.queue.setShares(s.app, new Map([['acme', { weight: 1 }]]), s.now);
        expect((await s.ask('u2', { max: 9 })).leases.length).toBe(2);
      }),
    );

    it(
      'a cap is of one app and holds over both lanes',
      on(async (s) => {
        const [online, batch] = [
          await s.add({ ...share({ maxInFlight: 1 }) }),
          await s.add({ lane: 'batch', ...share({ maxInFlight: 1 }) }),
        ];
        const first = await s.take();
        expect([first.id, (await s.ask('u1')).leases]).toEqual([online, []]);
        await s.complete(first);
        expect((await s.take()).id).toBe(batch);
      }),
    );

    it(
      'full: what is above the tenant’s bound of queued requests is refused and leaves nothing',
      on(async (s) => {
        const bound = share({ maxQueued: 2 });
        const kept = [await s.add(bound), await s.add({ lane: 'batch', ...bound })];
        const over = s.request({ ...bound, dedupeKey: 'k' });
        expect(await s.queue.enqueue([over], s.now)).toEqual([{ kind: 'full', queued: 2, limit: 2 }]);
        expect(await s.queue.get(s.app, over.id)).toBeUndefined();
        expect((await s.offer({ tenant: 'other', dedupeKey: 'k' })).kind).toBe('queued');
        await s.take();
        expect((await s.offer(bound)).kind).toBe('queued');
        // The bound that was told last holds also where none is said.
        expect((await s.offer({})).kind).toBe('full');
        expect((await s.offer(share({}))).kind).toBe('queued');
        expect(await s.queue.get(s.app, kept[1]!)).toBeDefined();
      }),
    );

    it(
      'one call of many is judged one by one; a join or a repeat is never refused',
      on(async (s) => {
        const bound = share({ maxQueued: 2 });
        const requests = Array.from({ length: 4 }, (_, i) => s.request({ ...bound, dedupeKey: `k${i}` }));
        const kinds = (await s.queue.enqueue(requests, s.now)).map((one) => one.kind);
        expect(kinds).toEqual(['queued', 'queued', 'full', 'full']);
        expect((await s.queue.enqueue([requests[0]!], s.now))[0]!.kind).toBe('queued');
        expect((await s.offer({ ...bound, dedupeKey: 'k1' })).kind).toBe('joined');
      }),
    );

    it(
      'what comes back is not refused, and counts',
      on(async (s) => {
        const bound = share({ maxQueued: 1 });
        const first = await s.add(bound);
        const lease = await s.take();
        const second = await s.add(bound);
        expect(await s.fail(lease)).toBe('requeued');
        expect((await s.offer(bound)).kind).toBe('full');
        expect(await s.drain()).toEqual([first, second]);
      }),
    );

    it(
      'a bound of none is always full',
      on(async (s) => expect(await s.offer(share({ maxQueued: 0 }))).toEqual({ kind: 'full', queued: 0, limit: 0 })),
    );

    it(
      'tenants of whom the queue knows nothing are left out of new shares',
      on(async (s) => {
        await s.queue.setShares(s.app, new Map([['acme', { weight: 1, maxQueued: 0 }]]), s.now);
        expect((await s.offer()).kind).toBe('queued');
      }),
    );

    const bad: [string, TenantShare][] = [
      ['weight', { weight: 0 }],
      ['weight', { weight: 1_001 }],
      ['maxInFlight', { weight: 1, maxInFlight: -1 }],
      ['maxQueued', { weight: 1, maxQueued: 0.5 }],
    ];
    it.each(bad)('a share with a bad %s is refused by the name of its field: %j', async (field, wrong) => {
      await onFresh(driver, async (s) => {
        const named = { code: 'invalid', message: expect.stringContaining(field) as unknown };
        await expect(s.offer({ share: wrong })).rejects.toMatchObject(named);
        await expect(s.queue.setShares(s.app, new Map([['acme', wrong]]), s.now)).rejects.toMatchObject(named);
      })();
    });
  });
}
