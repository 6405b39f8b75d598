// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { LeaseAnswer, LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { DEAD_LETTER_RETENTION_MS, RETIRED_MEMORY_MS, SWEEP_RECORDS } from '#gateway/queue/limits.ts';
import type { QueueError } from '#gateway/queue/errors.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { REDIS_LAYOUT } from '#gateway/queue/redis/connection.ts';
import { startRedis } from '#test/servers/redis.ts';
import { until } from '#test/until.ts';
import { LEASE_MS, Scenario, nonce, text } from './lease-queue.harness.ts';

async function bury(s: Scenario): Promise<void> {
  const which = await s.add({ retry: { maxAttempts: 1, maxLosses: 0 }, priority: 1_000 });
  const lease = await s.take('u3');
  expect([lease.id, await s.fail(lease, 'handler', 'u3')]).toEqual([which, 'failed']);
}

describe('redis: the server', () => {
  const prefix = `test-${randomBytes(6).toString('hex')}`;
  let redis: Redis;
  let queue: LeaseQueue;
  const open = (changes: { prefix?: string; url?: string } = {}): Promise<LeaseQueue> =>
    openRedisQueue({ url: inject('servers').redis.url, clock: systemClock, logger: silentLogger, prefix, ...changes });
  beforeAll(async () => {
    redis = new Redis(inject('servers').redis.url);
    queue = await open();
  });
  afterAll(async () => {
    await queue.close();
    redis.disconnect();
  });

  it('scripts survive SCRIPT FLUSH, many calls in flight', async () => {
    const s = new Scenario(queue);
    await s.add();
    await redis.script('FLUSH', 'SYNC');
    await Promise.all(Array.from({ length: 20 }, () => s.add()));
    await redis.script('FLUSH', 'SYNC');
    expect(await s.drain('u1', { max: 8 })).toHaveLength(21);
  });

  it('an unknown layout refuses to start and stays as it is', async () => {
    const other = `${prefix}-layout`;
    await redis.set(`${other}:layout`, 'penstock-queue/99');
    await expect(open({ prefix: other })).rejects.toMatchObject({
      code: 'layout',
      message: expect.stringContaining('99') as unknown,
    });
    expect(await redis.get(`${other}:layout`)).toBe('penstock-queue/99');
  });

  it('a new connection to keys of another layout: every call is refused until they are right again', async () => {
    const mine = `${prefix}-taken`;
    const second = await open({ prefix: mine });
    try {
      const s = new Scenario(second);
      const which = await s.add();
      const reconnect = async (layout: string | undefined): Promise<void> => {
        if (layout === undefined) await redis.del(`${mine}:layout`);
        else await redis.set(`${mine}:layout`, layout);
        const list = String(await redis.client('LIST'));
        const line = list.split('\n').find((one) => one.includes(` name=${mine}-queue `)) ?? '';
        await redis.client('KILL', 'ID', Number(/^id=(\d+)/.exec(line)?.[1]));
      };
      await reconnect('penstock-queue/99');
      await until(async () => (await second.get(s.app, which).catch((error: QueueError) => error.code)) === 'layout', {
        what: 'a call to be refused',
      });
      const other = new Scenario(second);
      for (const call of [s.add(), s.ask('u1'), s.expire(), s.sweep(), other.add()])
        await expect(call).rejects.toMatchObject({ code: 'layout', message: expect.stringContaining('99') as unknown });
      expect(await redis.keys(`${mine}:{${other.app}}*`)).toEqual([]);
      await redis.set(`${mine}:layout`, REDIS_LAYOUT);
      expect((await s.take()).id).toBe(which);
      // A server that was emptied: the next connection says whose it is.
      await reconnect(undefined);
      await until(async () => (await redis.get(`${mine}:layout`)) === REDIS_LAYOUT, {
        what: 'the layout to be said again',
      });
    } finally {
      await second.close();
    }
  });

  it('a server that a script keeps busy is waited for', async () => {
    const own = await startRedis({});
    const admin = new Redis(own.url);
    const second = await open({ url: own.url });
    try {
      await admin.config('SET', 'busy-reply-threshold', '10');
      const s = new Scenario(second);
      const long = admin.eval("local t = redis.call('TIME') while redis.call('TIME')[1] - t[1] < 2 do end return 1", 0);
      const [, which] = await Promise.all([long, s.add()]);
      expect((await s.record(which)).state).toBe('queued');
      expect(await admin.info('errorstats')).toContain('errorstat_BUSY');
    } finally {
      await second.close();
      admin.disconnect();
      await own.stop();
    }
  });

  it('a server that is not there is unavailable, at the start and later', async () => {
    await expect(open({ url: 'redis://127.0.0.1:1' })).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('work that one gateway accepts wakes the other; so does its end', async () => {
    const second = await open();
    const [here, there] = [new Scenario(queue), new Scenario(second)];
    Object.assign(there, { app: here.app });
    const heard = there.listen();
    const which = await until(
      async () => {
        const made = await here.add();
        return heard.events.some((one) => one.type === 'ready') && made;
      },
      { what: 'a wake-up at the other gateway' },
    );
    const { leases } = await there.ask('u1', { max: 100 });
    const mine = here.listen();
    await until(
      async () => {
        const lease = leases.find((one) => one.id === which)!;
        await there.complete(lease);
        await here.add();
        return mine.events.length > 0;
      },
      { what: 'the first gateway to listen' },
    );
    mine.events.length = 0;
    const [lease] = (await there.ask('u1')).leases;
    await there.complete(lease!);
    const done = { type: 'done', app: here.app, id: lease!.id };
    await until(() => mine.events.some((one) => one.type === 'done'), { what: 'done at the first gateway' });
    expect(mine.events).toContainEqual(done);
    await second.close();
  });

  it('uses its own clock when the caller names none', async () => {
    const s = new Scenario(queue);
    const before = Date.now();
    const which = s.request().id;
    await queue.enqueue([s.request({ id: which })]);
    const { createdAt } = await s.record(which);
    expect(createdAt).toBeGreaterThanOrEqual(before - 1_000);
    expect(createdAt).toBeLessThanOrEqual(Date.now() + 1_000);
  });

  it('every key of an app carries its hash tag; once all is swept and forgotten only bookkeeping of fixed size is left', async () => {
    const s = new Scenario(queue);
    const body = (key: string) => ({ contentType: 'a/b', bytes: 99_999, key });
    for (let i = 0; i < 5; i++)
      await s.add({ tenant: `t${i}`, lane: i % 2 ? 'online' : 'batch', body: body(`b${i}`), deadline: s.now + 1e6 });
    await s.queue.cancel(s.app, await s.add(), s.now);
    for (const lease of (await s.ask('u1', { max: 4 })).leases) await s.complete(lease, 'u1', body(`r-${lease.id}`));
    const lost = await s.take();
    await s.queue.noteObject(s.app, lost.id, lost.token, 'upload', s.now);
    s.now += LEASE_MS;
    await s.expire();
    await s.queue.cancel(s.app, lost.id, s.now);
    await bury(s);
    s.now += DEAD_LETTER_RETENTION_MS;
    await s.expire();
    s.now += RETIRED_MEMORY_MS;
    await s.expire();
    for (let more = true; more;) {
      const step = await queue.sweep(100, s.now);
      await queue.forget(step.keys);
      more = step.more;
    }
    expect(await redis.keys(`*${s.app}*`)).toEqual([`${prefix}:{${s.app}}:m`]);
  });

  it('an app that fills every sweep leaves the next one to the others', async () => {
    const at = Date.now();
    const both = [new Scenario(queue), new Scenario(queue)];
    for (const s of both) {
      s.now = at;
      // More than two sweeps of records each: whichever is first, the second sweep must not be its own again.
      for (let sent = 0; sent < 2 * SWEEP_RECORDS + 4; sent += 820) {
        const requests = Array.from({ length: 820 }, () => s.request({ deadline: at + 1, retentionMs: 0 }));
        await queue.enqueue(requests, at);
      }
    }
    const left = (): Promise<number[]> => Promise.all(both.map((s) => redis.hlen(`${prefix}:{${s.app}}:st`)));
    for (const s of both) while ((await queue.demand(s.app)).queued > 0) await queue.expire(new Map(), at + 2);
    const before = await left();
    for (let step = 0; step < 2; step++) expect((await queue.sweep(10, at + 2)).more).toBe(true);
    expect((await left()).map((now, i) => now < (before[i] ?? 0))).toEqual([true, true]);
    while ((await queue.sweep(10, at + 2)).more);
    expect(await left()).toEqual([0, 0]);
  });

  it('a purged app leaves a tombstone that ends by itself, and its name is forgotten', async () => {
    const s = new Scenario(queue);
    await s.add();
    await s.ask('u1', { max: 0 });
    await s.queue.retire(s.app, 'u2', s.now);
    await bury(s);
    while (!(await s.queue.purge(s.app, 100, s.now)).done);
    await s.ask('u1');
    const tombstone = `${prefix}:{${s.app}}:m`;
    expect(await redis.keys(`*${s.app}*`)).toEqual([tombstone]);
    expect(await redis.pttl(tombstone)).toBeGreaterThan(0);
    await s.expire();
    expect(await redis.sismember(`${prefix}:apps`, s.app)).toBe(0);
  });

  it('calls of one turn share a run, and each keeps to its own: leases, nonces, verdicts, completions', async () => {
    const s = new Scenario(queue);
    const requests = Array.from({ length: 100 }, () => s.request());
    await Promise.all(requests.map((request) => queue.enqueue([request])));
    const ask = (unit: string, max: number, floor: number, nonces: string[]): Promise<LeaseAnswer> =>
      queue.lease({
        app: s.app,
        unit,
        revision: 'r1',
        lanes: ['online'],
        max,
        leaseMs: LEASE_MS,
        nonces,
        currentRevision: 'r1',
        floor,
        lingerMs: 0,
        desiredState: 'Ready',
      });
    const units = Array.from({ length: 30 }, (_, i) => ({
      unit: `u${i}`,
      nonces: [nonce(), nonce(), nonce(), nonce()],
    }));
    const answers = await Promise.all(units.map(({ unit, nonces }) => ask(unit, 4, 3, nonces)));
    // In the order of arrival; 25 units get four each, the other five nothing: three of them are the floor, not needed while 25 work.
    expect(answers.flatMap((one) => one.leases.map((lease) => lease.id))).toEqual(requests.map((one) => one.id));
    for (const [i, { leases }] of answers.entries()) {
      expect(leases.map((lease) => lease.token.nonce)).toEqual(units[i]!.nonces.slice(0, leases.length));
      expect(leases.every((lease) => lease.record.body.inline !== undefined)).toBe(true);
    }
    expect(answers.slice(25).map((one) => one.verdict)).toEqual(Array(5).fill('leave'));

    const outcomes = await Promise.all(
      answers.slice(0, 25).map(({ leases }, i) => {
        const mine = leases.map((lease) => ({ ...lease, result: text(`by u${i}`), serviceMicros: 1 }));
        const stolen = answers[(i + 1) % 25]!.leases.slice(0, 1).map((lease) => ({
          ...lease,
          result: text('no'),
          serviceMicros: 1,
        }));
        return queue.complete(s.app, `u${i}`, [...mine, ...stolen]);
      }),
    );
    for (const one of outcomes) expect(one).toEqual([...Array<string>(4).fill('committed'), 'lost']);

    // All idle now, all in one run: exactly the floor stays, and the same unit asking twice in it is heard once.
    const last = await Promise.all([...units.slice(0, 25), units[0]!].map(({ unit }) => ask(unit, 1, 3, [nonce()])));
    expect(last.filter((one) => one.verdict === 'stay')).toHaveLength(3);
    expect([last[0]!.verdict, last[25]!.verdict]).toEqual(['leave', 'refused']);
    expect(await queue.demand(s.app)).toMatchObject({ queued: 0, leased: 0 });
  });

  it('an app is found by another process from its first request on', async () => {
    const s = new Scenario(queue);
    await s.add({ deadline: s.now + 5 });
    const second = await open();
    expect((await second.expire(new Map(), s.now + 5)).expired).toBeGreaterThanOrEqual(1);
    expect(await s.drain()).toEqual([]);
    await second.close();
  });
});

describe('redis: a server that is full', () => {
  it('takes no new work and says so, yet what is there is leased, extended, finished and swept', async () => {
    const server = await startRedis();
    const admin = new Redis(server.url);
    try {
      const queue = await openRedisQueue({ url: server.url, clock: systemClock, logger: silentLogger });
      const s = new Scenario(queue);
      for (let i = 0; i < 3; i++) await s.add({ retentionMs: 0 });
      await admin.config('SET', 'maxmemory', '1');
      await expect(s.add()).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringContaining('OOM') as unknown,
      });
      expect(await queue.demand(s.app)).toMatchObject({ queued: 3, leased: 0 });
      const { leases } = await s.ask('u1', { max: 2 });
      expect((await s.extend(leases[0]!)).ok).toBe(true);
      expect(await s.complete(leases[0]!)).toBe('committed');
      expect(await s.release(leases[1]!)).toBe('requeued');
      await queue.sweep(10, s.now);
      expect(await queue.get(s.app, leases[0]!.id)).toBeUndefined();
      await admin.config('SET', 'maxmemory', '0');
      await s.add();
      expect((await queue.demand(s.app)).queued).toBe(3);
      await queue.close();
    } finally {
      admin.disconnect();
      await server.stop();
    }
  });
});

describe('redis: durability is read, not assumed', () => {
  it('answers what the server is configured to, now', async () => {
    const server = await startRedis({ appendonly: true, fsync: 'always' });
    const admin = new Redis(server.url);
    try {
      const queue = await openRedisQueue({ url: server.url, clock: systemClock, logger: silentLogger });
      const said: string[] = [await queue.durability()];
      for (const [name, value] of [
        ['appendfsync', 'everysec'],
        ['appendfsync', 'no'],
        ['appendfsync', 'always'],
        ['maxmemory-policy', 'allkeys-lru'],
        ['maxmemory-policy', 'noeviction'],
        ['appendonly', 'no'],
      ] as const) {
        await admin.config('SET', name, value);
        said.push(await queue.durability());
      }
      expect(said).toEqual(['fsync', 'everysec', 'none', 'fsync', 'none', 'fsync', 'none']);
      await admin.acl('SETUSER', 'default', '-config');
      await admin.config('GET', 'appendonly').catch(() => undefined);
      expect(await queue.durability()).toBe('none');
      await queue.close();
    } finally {
      admin.disconnect();
      await server.stop();
    }
  });
});
