// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { DatabaseSync } from 'node:sqlite';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { LeaseQueue, RequestState, TenantShare } from '#gateway/queue/lease-queue.ts';
import { openEmbeddedQueue, openRedisQueue } from '#gateway/queue/open.ts';
import { startRedis } from '#test/servers/redis.ts';
import { until } from '#test/until.ts';
import { LEASE_MS, Scenario, nonce, text } from './lease-queue.harness.ts';

const CHILD = new URL('lease-queue.child.ts', import.meta.url).pathname;
const APP = 'app-restart';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-queue-'));
  file = join(folder, 'queue.db');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const open = (): LeaseQueue => openEmbeddedQueue({ file, clock: systemClock, logger: silentLogger });

/** Starts the process and kills it without warning once it has said `lines` lines. Answers what each request had become by then. */
async function runUntilKilled(lines: number): Promise<Map<string, string>> {
  const child = spawn(process.execPath, [CHILD, file, APP], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  try {
    await until(() => output.split('\n').length > lines || child.exitCode !== null, {
      what: `${lines} answers of the child`,
    });
  } finally {
    child.kill('SIGKILL');
    if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
  }
  const said = new Map<string, string>();
  for (const line of output.split('\n').slice(0, -1)) {
    const [word = '', which = ''] = line.split(' ');
    said.set(which, word);
  }
  return said;
}

describe('embedded: restart', () => {
  it('after kill -9 everything that was answered is there, time after time', async () => {
    const promised = new Map<string, string>();
    for (let round = 0; round < 4; round++) {
      for (const [which, word] of await runUntilKilled(300)) promised.set(which, word);
      const queue = open();
      const leased = (await queue.demand(APP)).leased;
      for (const [which, word] of promised) {
        const state = (await queue.get(APP, which))?.state;
        // What was said last may have been followed by one more step whose answer died with the process.
        const possible: Record<string, readonly (RequestState | undefined)[]> = {
          queued: ['queued', 'leased', 'succeeded'],
          leased: ['leased', 'succeeded'],
          succeeded: ['succeeded'],
        };
        expect(possible[word], `${which} was ${word}`).toContain(state);
      }
      // Each of the three clients of each round may have died with a lease, and leases outlast the rounds.
      expect(leased).toBeLessThanOrEqual(3 * (round + 1));
      await queue.close();
    }
    expect(promised.size).toBeGreaterThan(500);
  });

  it('a lease outlives the process: its token commits, its end is kept, order and dedupe too', async () => {
    const before = new Scenario(open());
    const [first, second] = [
      await before.add({ dedupeKey: 'k', body: text('one') }),
      await before.add({ priority: 5 }),
    ];
    const third = await before.add();
    const lease = await before.take();
    await before.queue.close();

    const after = new Scenario(open());
    const same = Object.assign(after, { app: before.app });
    expect(lease.id).toBe(second);
    expect(await same.queue.demand(same.app)).toMatchObject({
      queued: 2,
      leased: 1,
      units: [{ unit: 'u1', leases: 1 }],
    });
    expect(await same.offer({ dedupeKey: 'k' })).toMatchObject({ kind: 'joined', record: { id: first } });
    expect((await same.expire()).nextAt).toBe(lease.expiresAt);
    expect(await same.complete(lease)).toBe('committed');
    expect(await same.drain()).toEqual([first, third]);
    same.now += LEASE_MS;
    expect((await same.expire()).expired).toBe(2);
    await same.queue.close();
  });

  it('shares, tags, charges and what was learned outlive the process: the order goes on as if nothing had been', async () => {
    const play = async (restarts: boolean): Promise<string[]> => {
      const path = join(folder, `${restarts}.db`);
      const openIt = (): LeaseQueue => openEmbeddedQueue({ file: path, clock: systemClock, logger: silentLogger });
      let s = new Scenario(openIt());
      const again = async (): Promise<void> => {
        if (!restarts) return;
        await s.queue.close();
        const { app, now } = s;
        s = Object.assign(new Scenario(openIt()), { app, now });
      };
      const names = new Map<string, string>();
      const order: string[] = [];
      const add = async (tenant: string, i: number, share?: TenantShare): Promise<void> => {
        const lane = i % 3 === 2 ? 'batch' : 'online';
        const which = await s.add({ tenant, lane, cost: i % 2 === 0 ? 0 : 700_000, ...(share && { share }) });
        names.set(which, `${tenant}${i}`);
      };
      const shares: [string, TenantShare][] = [
        ['a', { weight: 1 }],
        ['b', { weight: 3, maxInFlight: 2 }],
        ['c', { weight: 2, maxQueued: 9 }],
      ];
      for (let i = 0; i < 9; i++)
        for (const [tenant, share] of shares) await add(tenant, i, i === 0 ? share : undefined);
      for (let i = 0; order.length < 24; i++) {
        await again();
        s.now += 1_000;
        const { leases } = await s.ask(`u${i}`, { max: 1 + (i % 2), starvationGraceMs: 4_000 });
        order.push(...leases.map((one) => names.get(one.id)!));
        await again();
        const done = leases.map(({ id, token }) => ({
          id,
          token,
          result: text(''),
          serviceMicros: 300_000 + i * 90_000,
        }));
        if (i % 5 === 0) for (const one of leases) await s.fail(one, 'handler', `u${i}`);
        else await s.queue.complete(s.app, `u${i}`, done, s.now);
      }
      await s.queue.close();
      return order;
    };
    const straight = await play(false);
    expect(await play(true)).toEqual(straight);
    expect(new Set(straight.map((one) => one[0])).size).toBe(3);
  });

  it('of what has ended nothing is left but its record, and after its retention not that', async () => {
    const s = new Scenario(open());
    for (const tenant of ['a', 'b', 'c'])
      for (let i = 0; i < 4; i++)
        await s.add({ tenant, cost: 0, retentionMs: 1_000, share: { weight: 1, maxInFlight: 2 } });
    await s.complete(await s.take());
    await s.fail(await s.take(), 'input');
    await s.ask('dead', { max: 3 });
    s.now += LEASE_MS;
    await s.expire();
    for (const { id } of (await s.queue.live(s.app, 100)).records) await s.queue.cancel(s.app, id, s.now);
    s.now += 1_000;
    await s.sweep();
    await s.queue.close();
    const db = new DatabaseSync(file);
    const count = (table: string): unknown => db.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.['n'];
    const tables = ['request', 'payload', 'dedupe', 'tenant', 'letter', 'object'];
    expect(Object.fromEntries(tables.map((table) => [table, count(table)]))).toEqual(
      Object.fromEntries(tables.map((table) => [table, 0])),
    );
    const fair = { virtual: { online: 0, batch: 0 }, drain: '', periods: 0, sharing: {} };
    expect(JSON.parse(String(db.prepare('SELECT fair FROM app').get()?.['fair']))).toEqual(fair);
    db.close();
  });

  it('another process is another run; an old copy of the file shows in the generation', async () => {
    const before = new Scenario(open());
    await before.add();
    const run = await before.queue.run();
    await before.queue.close();
    copyFileSync(file, `${file}.old`);
    const later = Object.assign(new Scenario(open()), { app: before.app });
    expect(await later.queue.run()).not.toBe(run);
    await later.add();
    const last = await later.queue.generation(later.app);
    await later.queue.close();
    copyFileSync(`${file}.old`, file);
    const restored = open();
    expect(await restored.generation(before.app)).toBeLessThan(last);
    expect(await restored.generation(before.app, last)).toBe(last);
    await restored.close();
  });

  it('a retired unit stays retired, a purged app stays closed', async () => {
    const before = new Scenario(open());
    await before.queue.retire(before.app, 'u1', before.now);
    await before.queue.purge('gone', 10, before.now);
    await before.queue.close();
    const after = Object.assign(new Scenario(open()), { app: before.app });
    expect((await after.ask('u1')).verdict).toBe('refused');
    expect((await after.offer({ app: 'gone' })).kind).toBe('closed');
    await after.queue.close();
  });

  it('a second process is refused and says why; the first goes on', async () => {
    const queue = open();
    expect(() => open()).toThrow(
      expect.objectContaining({ code: 'locked', message: expect.stringContaining(file) as unknown }) as Error,
    );
    await queue.ping();
    await queue.close();
    await expect(queue.ping()).rejects.toMatchObject({ code: 'closed' });
    await open().close();
  });

  const foreign: [string, (db: DatabaseSync) => void][] = [
    ['a newer layout', (db) => db.exec('PRAGMA user_version = 99')],
    ['a right number without our mark', (db) => db.exec("UPDATE meta SET value = 'something else'")],
  ];
  it.each(foreign)('%s refuses to start and is left as it is', async (_name, change) => {
    await open().close();
    const db = new DatabaseSync(file);
    change(db);
    db.close();
    for (let i = 0; i < 2; i++) expect(open).toThrow(expect.objectContaining({ code: 'layout' }) as Error);
  });

  it('the file of another program is refused', () => {
    const db = new DatabaseSync(file);
    db.exec('CREATE TABLE theirs (a)');
    db.close();
    expect(open).toThrow(expect.objectContaining({ code: 'layout' }) as Error);
  });

  it('says how durable it is: a file is synced, memory is not', async () => {
    const queue = open();
    expect(await queue.durability()).toBe('fsync');
    await queue.close();
    const memory = openEmbeddedQueue({ file: ':memory:', clock: systemClock, logger: silentLogger });
    expect(await memory.durability()).toBe('none');
    await memory.close();
  });
});

describe('redis: restart', () => {
  it('after kill -9 of Redis (AOF, always) everything that was answered is there, and waiting calls go through', async () => {
    const server = await startRedis({ appendonly: true, fsync: 'always' });
    try {
      const queue = await openRedisQueue({ url: server.url, clock: systemClock, logger: silentLogger });
      const scenario = new Scenario(queue);
      const answered: string[] = [];
      const failed: unknown[] = [];
      const stop = new AbortController();
      const clients = Array.from({ length: 8 }, async () => {
        while (!stop.signal.aborted) {
          const request = scenario.request({ dedupeKey: nonce() });
          await queue.enqueue([request]).then(
            () => answered.push(request.id),
            (error: unknown) => failed.push(error),
          );
        }
      });
      for (const target of [300, 900]) {
        await until(() => answered.length > target, { what: `${target} answers` });
        await server.kill9();
        await server.restart();
      }
      await until(() => answered.length > 1_500, { what: 'answers after the restarts' });
      stop.abort();
      await Promise.all(clients);
      const records = await Promise.all(answered.map((which) => queue.get(scenario.app, which)));
      expect(records.filter((record) => record?.state !== 'queued')).toEqual([]);
      // Sent again by the client library after the reconnect, and each stored once.
      const { queued } = await queue.demand(scenario.app);
      expect(queued).toBeGreaterThanOrEqual(answered.length);
      expect(queued).toBeLessThanOrEqual(answered.length + failed.length);
      await queue.close();
    } finally {
      await server.stop();
    }
  });
});
