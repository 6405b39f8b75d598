// SPDX-License-Identifier: Apache-2.0
// A queue that lost the end of its log, came back from a backup or lost everything: found out, salvaged from, and served on.
import { randomBytes } from 'node:crypto';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Redis } from 'ioredis';
import { afterEach, describe, expect, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { UploadUrlReply } from '#base/wire/broker.ts';
import { openEmbeddedQueue } from '#gateway/queue/open.ts';
import { generationKey } from '#gateway/store/keys.ts';
import { until } from '#test/until.ts';
import { problem, status, submit } from './gateway.client.ts';
import { bodyOf, held, testApp } from './gateway.harness.ts';
import type { Stack, TestUnit } from './gateway.harness.ts';
import {
  PATIENCE,
  backUp,
  count,
  deployment,
  finishOne,
  houseOn,
  logSize,
  mirroredRun,
  regressions,
  tearLog,
  untilMirrored,
  untilRecovered,
} from './recovery.harness.ts';
import type { Deployment } from './recovery.harness.ts';

const open: { readonly close: () => Promise<void> }[] = [];

afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

async function deploy(): Promise<Deployment> {
  const made = await deployment();
  open.push(made);
  return made;
}

/** A worker that dies between the upload of its result and the call that commits it. */
async function uploadOnly(
  worker: TestUnit,
  bytes: Uint8Array<ArrayBuffer>,
  facts: { readonly content_type: string; readonly content_encoding?: 'gzip' },
): Promise<void> {
  const call = { ...held(await worker.one()), ...facts, bytes: bytes.length };
  const { url, headers } = (await (await worker.post('upload-url', call)).json()) as UploadUrlReply;
  expect((await fetch(url, { method: 'PUT', headers, body: bytes })).status).toBe(200);
}

/** A queue that is away for too long gives nothing either. */
function unavailable(err: unknown): { readonly leases: readonly [] } {
  if (err instanceof Error && err.message.startsWith('lease: 503')) return { leases: [] };
  throw err;
}

/** The client gets the very bytes of the first run. */
async function expectResult(s: Stack, ticket: string, result: Buffer): Promise<void> {
  const answer = await status(s, ticket);
  expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/x-result']);
  expect(Buffer.from(await answer.arrayBuffer()).equals(result)).toBe(true);
}

/** A ticket of ours without a record is said to be lost and counted, and an equal body starts anew. */
async function expectLost(s: Stack, ticket: string, body: string): Promise<void> {
  const before = await count(s, 'penstock_requests_lost_total');
  expect(await problem(await status(s, ticket))).toEqual([500, 'request-lost']);
  expect(await count(s, 'penstock_requests_lost_total')).toBe(before + 1);
  expect(await submit(s, body)).not.toBe(ticket);
}

/** Everything that is queued goes to one unit, in its order; each ticket then has its answer. */
async function serveAll(s: Stack, expected: readonly string[]): Promise<void> {
  const worker = await s.unit(`serves-${randomBytes(4).toString('hex')}`);
  const seen: string[] = [];
  for (const _ of expected) {
    const lease = await worker.one(30);
    const text = (await bodyOf(lease)).toString();
    seen.push(text);
    expect(await worker.complete(lease, `done ${text}`)).toBe('committed');
  }
  expect(seen.toSorted()).toEqual([...expected].toSorted());
  expect((await worker.lease(1, 0)).leases).toEqual([]);
}

describe('a log that was cut in the middle of its last transactions', () => {
  test('a gateway that lives through it: results in the store are answered without a second run', async () => {
    const { redis, gateway } = await deploy();
    const s = await gateway();
    const [worker, other] = [await s.unit('before'), await s.unit('waits')];
    const kept = await submit(s, 'kept');
    const size = logSize(redis);
    const lease = await worker.one();
    const result = randomBytes(30_000);
    expect(await worker.upload(lease, result, 'application/x-result')).toBe('committed');
    const lost = await submit(s, 'lost');

    await tearLog(redis, size);
    // A call that was on its way when Redis died is the first one that the new process hears.
    const onItsWay = other.lease(8, 0).catch(unavailable);
    await redis.start();
    await untilRecovered('went-back', s);
    expect(await onItsWay).toMatchObject({ leases: [] });
    expect(s.gateway.notReady()).toBeUndefined();
    expect(s.gateway.readyNote()).toContain('the queue of 1 apps went back at ');
    await expectResult(s, kept, result);
    expect(await count(s, 'penstock_recovery_salvaged_total')).toBe(1);
    await expectLost(s, lost, 'lost');
    expect(await regressions(s, 'went-back')).toBe(1);
    await serveAll(s, ['lost']);
  });

  test('with all gateways dead: the next one finds it out by the mirror, and the one after that has nothing to report', async () => {
    const { redis, gateway } = await deploy();
    const first = await gateway();
    const worker = await first.unit('before');
    const waiting = await submit(first, 'waiting');
    const done = await submit(first, 'done');
    const size = logSize(redis);
    expect((await bodyOf(await worker.one())).toString()).toBe('waiting');
    const lease = await worker.one();
    const result = randomBytes(30_000);
    expect(await worker.upload(lease, result, 'application/x-result')).toBe('committed');
    const lost = await submit(first, 'lost');
    await untilMirrored(first);
    await first.kill();

    await tearLog(redis, size);
    await redis.start();
    const second = await gateway();
    await untilRecovered('went-back', second);
    await expectResult(second, done, result);
    expect((await status(second, waiting)).status).toBe(202);
    await expectLost(second, lost, 'lost');
    await serveAll(second, ['waiting', 'lost']);
    expect(await (await status(second, waiting)).text()).toBe('done waiting');
    await untilMirrored(second);
    await second.kill();
    const third = await gateway();
    await expectResult(third, done, result);
    expect(await regressions(third, 'went-back')).toBe(0);
    expect(third.gateway.readyNote()).not.toContain('went back');
  });
});

test('an old copy of Redis’ files put in their place is found out by a gateway that lives', async () => {
  const { redis, gateway } = await deploy();
  const s = await gateway();
  const early = await submit(s, 'early');
  const backup = await backUp(redis);
  const worker = await s.unit('before');
  const lease = await until(async () => (await worker.lease(1, 5)).leases[0], {
    what: 'a lease after the restart',
    ...PATIENCE,
  });
  const result = randomBytes(30_000);
  expect(await worker.upload(lease, result, 'application/x-result')).toBe('committed');
  const later = await finishOne(s, worker, 'later');

  await backup.restore();
  await redis.start();
  await untilRecovered('went-back', s);
  await expectResult(s, early, result);
  await expectLost(s, later.ticket, 'later');
  await serveAll(s, ['later']);
});

test('a Redis that lost everything while all live, twice: every ticket is lost and said to be, new work is served', async () => {
  const { redis, gateway } = await deploy();
  const [one, two] = [await gateway(), await gateway()];
  const admin = new Redis(redis.url);
  for (const round of ['first', 'second']) {
    const [a, b] = [`${round} a`, `${round} b`];
    const tickets = [await submit(one, a), await submit(two, b)];
    const counted = async (): Promise<number> =>
      (await regressions(one, 'went-back')) + (await regressions(two, 'went-back'));
    const before = await counted();
    await admin.flushall();
    await expectLost(one, tickets[0] ?? '', a);
    await expectLost(two, tickets[1] ?? '', b);
    await until(async () => (await counted()) > before, { what: `the ${round} loss to be counted`, ...PATIENCE });
    await untilRecovered('went-back', one, two);
    await serveAll(two, [a, b]);
    // Housekeeping finds the app again: it is written down where all processes look.
    expect(await admin.smembers('penstock:apps')).toEqual(['uid-echo']);
  }
  admin.disconnect();
});

test('an empty volume under new gateways is generation 0, below the mirror', async () => {
  const { redis, gateway } = await deploy();
  const first = await gateway();
  const ticket = await submit(first, 'x');
  await untilMirrored(first);
  await first.kill();
  const admin = new Redis(redis.url);
  await admin.flushall();
  admin.disconnect();
  const second = await gateway();
  await untilRecovered('went-back', second);
  expect(second.gateway.notReady()).toBeUndefined();
  await expectLost(second, ticket, 'x');
  await serveAll(second, ['x']);
});

test('a purge takes an app’s entry out of the mirror', async () => {
  const { gateway, store } = await deploy();
  const s = await gateway();
  await submit(s, 'x');
  await untilMirrored(s);
  s.apps.set(testApp({ deleting: true }));
  const headers = { authorization: `Bearer ${await s.operatorToken()}` };
  await until(
    async () => (await fetch(`${s.internal}/internal/v1/apps/uid-echo`, { method: 'DELETE', headers })).status === 204,
    { what: 'the end of the purge', ...PATIENCE },
  );
  expect(await store.head(generationKey('uid-echo'))).toBeUndefined();
});

test('standalone: an older copy of queue.db put in its place is found out at the start', async () => {
  const [data, copy] = ['penstock-data-', 'penstock-copy-'].map((name) => mkdtempSync(join(tmpdir(), name))) as [
    string,
    string,
  ];
  const house = await houseOn(async () =>
    openEmbeddedQueue({ file: join(data, 'queue.db'), clock: systemClock, logger: silentLogger }),
  );
  open.push({
    close: async () => {
      await house.close();
      for (const folder of [data, copy]) rmSync(folder, { recursive: true });
    },
  });
  const first = await house.gateway();
  const early = await submit(first, 'early');
  await first.kill();
  cpSync(data, copy, { recursive: true });

  const second = await house.gateway();
  const worker = await second.unit('before');
  const result = randomBytes(30_000);
  expect(await worker.upload(await worker.one(), result, 'application/x-result')).toBe('committed');
  const lost = await submit(second, 'lost');
  await untilMirrored(second);
  await second.kill();
  rmSync(data, { recursive: true });
  cpSync(copy, data, { recursive: true });

  const third = await house.gateway();
  await untilRecovered('went-back', third);
  expect(third.gateway.readyNote()).toContain('the queue of 1 apps went back at ');
  await expectResult(third, early, result);
  await expectLost(third, lost, 'lost');
  await serveAll(third, ['lost']);
  await untilMirrored(third);
  await third.kill();
  const fourth = await house.gateway();
  await expectResult(fourth, early, result);
  expect(await regressions(fourth, 'went-back')).toBe(0);
});

describe('a restart of Redis that lost nothing', () => {
  test('unseen by any gateway is suspect: all is still there, and what lies in the store is not run again', async () => {
    const { redis, gateway, store } = await deploy();
    const first = await gateway();
    const worker = await first.unit('dies');
    const uploaded = await submit(first, 'uploaded');
    const result = randomBytes(20_000);
    await uploadOnly(worker, result, { content_type: 'application/x-result' });
    const squeezed = await submit(first, 'squeezed');
    const text = randomBytes(30_000).toString('hex');
    await uploadOnly(worker, gzipSync(text), { content_type: 'text/plain', content_encoding: 'gzip' });
    const queued = await submit(first, 'queued');
    await until(() => mirroredRun(store), { what: 'the run in the mirror', ...PATIENCE });
    await first.kill();
    await redis.restart();

    const second = await gateway();
    await untilRecovered('suspect', second);
    expect(await regressions(second, 'went-back')).toBe(0);
    expect(second.gateway.readyNote()).not.toContain('went back');
    await expectResult(second, uploaded, result);
    const inflated = await status(second, squeezed, { 'accept-encoding': 'identity' });
    expect([inflated.headers.get('content-type'), await inflated.text()]).toEqual(['text/plain', text]);
    expect((await status(second, queued)).status).toBe(202);
    await serveAll(second, ['queued']);
  });

  test('under a gateway that lives is none: nothing is reported, nothing is lost', async () => {
    const { redis, gateway, store } = await deploy();
    const s = await gateway();
    const ticket = await submit(s, 'kept');
    const run = await until(() => mirroredRun(store), { what: 'the run in the mirror', ...PATIENCE });
    await redis.restart();
    await until(async () => (await mirroredRun(store)) !== run, { what: 'the new run in the mirror', ...PATIENCE });
    expect([await regressions(s, 'went-back'), await regressions(s, 'suspect')]).toEqual([0, 0]);
    await serveAll(s, ['kept']);
    expect(await (await status(s, ticket)).text()).toBe('done kept');
  });
});
