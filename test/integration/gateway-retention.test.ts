// SPDX-License-Identifier: Apache-2.0
// What a request leaves behind, over its whole life and through a death in the middle of the sweep: in the end, nothing.
import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { Redis } from 'ioredis';
import { afterEach, expect, inject, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { UploadUrlReply } from '#base/wire/broker.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { openEmbeddedQueue, openRedisQueue } from '#gateway/queue/open.ts';
import type { ObjectStore } from '#gateway/store/object-store.ts';
import { openS3Store } from '#gateway/store/open.ts';
import { until } from '#test/until.ts';
import { problem, status, submit } from './gateway.client.ts';
import { bodyOf, held, makeFleet, orphanSweepLater, startStack, testApp } from './gateway.harness.ts';
import type { Stack, TestUnit } from './gateway.harness.ts';

const RETENTION_SECONDS = 60;
const APP = testApp({ retentionSeconds: RETENTION_SECONDS });
/** Past the retention, and past the hour for which an upload URL may still be used. */
const ALL_DUE_MS = 3_700_000;
/** Longer than the queue waits before it offers a key again that nobody acknowledged. */
const OFFERED_AGAIN_MS = 61_000;

const cleanUp: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).toReversed()) await step();
});

/** What both gateways share. */
interface Backend {
  readonly queue: LeaseQueue;
  /** Absent: each gateway brings a local one, and the second gets the first one's. */
  readonly store?: ObjectStore;
  /** Names of what the queue still keeps of the app's requests, looked up past the driver. */
  readonly leftInQueue: () => Promise<readonly string[]>;
}

const deps = { clock: systemClock, logger: silentLogger };

async function embeddedAndLocal(): Promise<Backend> {
  const dir = mkdtempSync(join(tmpdir(), 'penstock-retention-'));
  cleanUp.push(async () => rmSync(dir, { recursive: true }));
  const queue = openEmbeddedQueue({ file: join(dir, 'queue.db'), ...deps });
  cleanUp.push(() => queue.close());
  const leftInQueue = async (): Promise<string[]> => {
    // A copy, as a kill -9 would leave it: the file itself is locked by the queue.
    for (const end of ['', '-wal']) copyFileSync(join(dir, `queue.db${end}`), join(dir, `copy.db${end}`));
    const copy = new DatabaseSync(join(dir, 'copy.db'));
    const tables = ['request', 'payload', 'dedupe', 'object'];
    const left = tables.filter((table) => copy.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.['n'] !== 0);
    copy.close();
    return left;
  };
  return { queue, leftInQueue };
}

async function redisAndS3(): Promise<Backend> {
  const { redis, s3 } = inject('servers');
  const prefix = `retention-${randomBytes(6).toString('hex')}`;
  const queue = await openRedisQueue({ url: redis.url, prefix, ...deps });
  const store = await openS3Store({ ...s3, publicEndpoint: s3.endpoint, prefix: `${prefix}/`, clock: systemClock });
  const raw = new Redis(redis.url);
  cleanUp.push(
    () => queue.close(),
    () => store.close(),
    () => raw.quit(),
  );
  const names = ['st', 'rq', 'rs', 'at', 'dd', 'fin', 'obj', 'lease', 'dl'];
  const leftInQueue = async (): Promise<string[]> => {
    const found: string[] = [];
    for (const name of names) if ((await raw.exists(`${prefix}:{${APP.uid}}:${name}`)) > 0) found.push(name);
    return found;
  };
  return { queue, store, leftInQueue };
}

/** A queue whose sweeps see a later time. */
interface Later {
  readonly queue: LeaseQueue;
  ms: number;
  /** Acknowledgements that reached the queue. */
  readonly forgotten: Set<string>;
  /** The process dies when it has deleted objects, before it tells the queue: from then on it does nothing more. */
  diesInSweep: boolean;
  dead: boolean;
}

function laterQueue(queue: LeaseQueue): Later {
  const own: Pick<LeaseQueue, 'sweep' | 'forget'> = {
    sweep: async (limit) => {
      if (later.dead) throw new Error('killed');
      return await queue.sweep(limit, Date.now() + later.ms);
    },
    forget: async (keys) => {
      if (later.diesInSweep) later.dead = true;
      if (later.dead) throw new Error('killed');
      await queue.forget(keys);
      for (const key of keys) later.forgotten.add(key);
    },
  };
  const get = (target: LeaseQueue, name: string | symbol): unknown => {
    const value: unknown = Reflect.get(own, name) ?? Reflect.get(target, name);
    return typeof value === 'function' ? value.bind(target) : value;
  };
  const later: Later = {
    queue: new Proxy(queue, { get }),
    ms: 0,
    forgotten: new Set(),
    diesInSweep: false,
    dead: false,
  };
  return later;
}

/** Leases one and gives it back; answers the way to upload a result that nobody will commit. */
async function losingUpload(worker: TestUnit, bytes: Uint8Array<ArrayBuffer>): Promise<() => Promise<void>> {
  const lease = await worker.one();
  const call = { ...held(lease), content_type: 'a/b', bytes: bytes.length };
  const { url, headers } = (await (await worker.post('upload-url', call)).json()) as UploadUrlReply;
  await worker.release(lease);
  return async () => expect((await fetch(url, { method: 'PUT', headers, body: bytes })).status).toBe(200);
}

async function keysIn(store: ObjectStore): Promise<string[]> {
  return (await store.list('v1/')).objects.map(({ key }) => key);
}

async function open(later: Later, store: ObjectStore | undefined, fleet: Awaited<ReturnType<typeof makeFleet>>) {
  const stack: Stack = await startStack({
    apps: [APP],
    queue: later.queue,
    fleet,
    ...(store === undefined ? {} : { store }),
  });
  cleanUp.push(stack.close);
  return stack;
}

test.each([
  ['embedded queue and local store', embeddedAndLocal],
  ['Redis and S3', redisAndS3],
])(
  '%s: records, objects and keys are all gone after the retention, though a gateway dies in the sweep',
  async (_name, make) => {
    const { queue, store: shared, leftInQueue } = await make();
    const fleet = await makeFleet();
    const [dying, living] = [laterQueue(queue), laterQueue(queue)];
    const first = await open(dying, shared, fleet);
    const { store } = first;
    const [body, lost, result] = [randomBytes(20_000), randomBytes(30_000), randomBytes(40_000)];

    const ticket = await submit(first, body);
    await (
      await losingUpload(await first.unit('loses'), lost)
    )();
    const winner = await first.unit('wins');
    expect(await winner.upload(await winner.one(), result, 'a/b')).toBe('committed');
    const done = await status(first, ticket);
    expect(Buffer.from(await done.arrayBuffer()).equals(result)).toBe(true);
    expect((await leftInQueue()).length).toBeGreaterThan(1);
    const objects = await keysIn(store);
    expect(objects).toHaveLength(3);

    dying.diesInSweep = true;
    dying.ms = ALL_DUE_MS;
    await until(() => dying.dead, { what: 'the death between delete and forget', timeoutMs: 30_000 });
    expect(await keysIn(store)).toEqual([]);
    expect([...dying.forgotten]).toEqual([]);

    const second = await open(living, store, fleet);
    living.ms = ALL_DUE_MS + OFFERED_AGAIN_MS;
    await until(() => living.forgotten.size === 3, {
      what: 'the keys to be offered again and forgotten',
      timeoutMs: 30_000,
    });
    expect([...living.forgotten].toSorted()).toEqual(objects.toSorted());
    expect(await leftInQueue()).toEqual([]);
    expect(await queue.sweep(100, Date.now() + 1e10)).toEqual({ keys: [], more: false });
    expect(await problem(await status(second, ticket))).toEqual([410, 'result-expired']);

    living.ms = 0;
    const again = await submit(second, body);
    expect(again).not.toBe(ticket);
    const worker = await second.unit('again');
    const lease = await worker.one();
    expect([(await bodyOf(lease)).equals(body), lease.attempt]).toEqual([true, 1]);
  },
);

test.each([
  ['embedded queue and local store', embeddedAndLocal],
  ['Redis and S3', redisAndS3],
])('%s: an upload that ends after its app was purged does not stay', async (_name, make) => {
  const { queue, store: shared } = await make();
  const s = await open(laterQueue(queue), shared, await makeFleet());
  await submit(s, 'x');
  const upload = await losingUpload(await s.unit('slow'), randomBytes(20_000));
  s.apps.set({ ...APP, deleting: true });
  const headers = { authorization: `Bearer ${await s.operatorToken()}` };
  const purge = (): Promise<Response> =>
    fetch(`${s.internal}/internal/v1/apps/${APP.uid}`, { method: 'DELETE', headers });
  await until(async () => (await purge()).status === 204, { what: 'the end of the purge' });
  await upload();
  s.apps.remove(APP.uid);
  expect(await keysIn(s.store)).toHaveLength(1);
  expect(await orphanSweepLater({ queue, store: s.store, apps: s.apps }, 2 * 3_600_000).step()).toBe(1);
  expect(await keysIn(s.store)).toEqual([]);
});
