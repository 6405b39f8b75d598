// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import { counter } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import type { Random } from '#base/random.ts';
import { uuid7Time } from '#base/uuid7.ts';
import type { AppSource } from './apps/app-source.ts';
import type { LeaseQueue, RequestRecord } from './queue/lease-queue.ts';
import type { Recovery } from './recovery/recovery.ts';
import { ALL_KEYS, MIRRORED_APPS, mirroredApp, parseKey } from './store/keys.ts';
import type { ObjectPlace } from './store/keys.ts';
import type { ListedObject, ObjectStore } from './store/object-store.ts';
import type { Sweep } from './sweeps.ts';

/** Far above the longest upload (REQUEST_TIMEOUT_MS) and any difference of clocks: what is older will never be enqueued. */
const ORPHAN_AGE_MS = 3_600_000;
/** One page a minute: a listing and as many look-ups, whatever the store holds. */
const PAGE = 500;
const INTERVAL_MS = 60_000;
/** A body goes from a dead letter to the request that a redrive made of it, and from that one on. Beyond so many it counts as needed. */
const REDRIVES_FOLLOWED = 32;
/** After a page with orphans: an outage leaves them side by side. */
const BUSY_INTERVAL_MS = 1_000;

export interface OrphanSweepOptions {
  readonly queue: Pick<LeaseQueue, 'get' | 'remains'>;
  readonly store: Pick<ObjectStore, 'list' | 'delete'>;
  readonly apps: Pick<AppSource, 'byUid'>;
  readonly recovery: Pick<Recovery, 'trusted'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly registry: Registry;
}

export interface OrphanSweep extends Sweep {
  start(): void;
  /** Looks at the next page; how many objects went. */
  step(): Promise<number>;
}

/**
 * Removes objects that no record names and the queue cannot name either: the body of a request that was never queued, because the queue
 * was away or the gateway was killed in between (DESIGN §3.1), and an upload of a result that ended after its key had been swept or its
 * app purged. An app that is neither known nor closed in the queue is somebody else's, in a store that two deployments share by mistake:
 * its objects stay. So do those of an app whose queue has just lost records: its recovery looks for results first. Once in a round the
 * mirror is looked at too: an entry that a replica wrote while another one purged the app.
 */
export function createOrphanSweep(options: OrphanSweepOptions): OrphanSweep {
  const { store, clock, random, logger } = options;
  const removed = counter(
    options.registry,
    'penstock_gateway_orphan_objects_total',
    'Bodies and results that no request names, removed.',
  );
  const stopping = new AbortController();
  let loop: Promise<void> | undefined;
  /** Where the walk goes on. Lost with the process: then it starts from the first key again. */
  let cursor: string | undefined;
  let mirrorCursor: string | undefined;

  const remove = async (orphans: readonly string[]): Promise<number> => {
    if (orphans.length > 0) await store.delete(orphans);
    removed.inc(orphans.length);
    return orphans.length;
  };
  const step = async (): Promise<number> => {
    const page = await store.list(ALL_KEYS, { limit: PAGE, ...(cursor === undefined ? {} : { cursor }) });
    const count = await remove(await orphansOf(options, page.objects));
    cursor = page.cursor;
    return cursor === undefined ? count + (await mirrorStep()) : count;
  };
  const mirrorStep = async (): Promise<number> => {
    const from = mirrorCursor === undefined ? {} : { cursor: mirrorCursor };
    const page = await store.list(MIRRORED_APPS, { limit: PAGE, ...from });
    mirrorCursor = page.cursor;
    return await remove(await orphanEntries(options, page.objects));
  };

  const run = async (): Promise<void> => {
    let pause = INTERVAL_MS;
    while (!stopping.signal.aborted) {
      // Replicas spread out; the first pause keeps a restart from adding its own load.
      await clock.sleep(pause * (0.5 + random.fraction()), stopping.signal).catch(() => undefined);
      if (stopping.signal.aborted) return;
      pause = INTERVAL_MS;
      try {
        const count = await step();
        if (count > 0) logger.info({ count }, 'objects without a request removed');
        if (count > 0) pause = BUSY_INTERVAL_MS;
      } catch (err) {
        logger.warn({ err }, 'the walk over stored objects failed; it goes on later');
      }
    }
  };

  return {
    step,
    start: () => {
      loop ??= run();
    },
    stop: async () => {
      stopping.abort(new Error('the gateway stops'));
      await loop;
    },
  };
}

async function orphansOf(options: OrphanSweepOptions, objects: readonly ListedObject[]): Promise<string[]> {
  const before = options.clock.now() - ORPHAN_AGE_MS;
  const ours = new Map<string, boolean>();
  const orphans: { readonly app: string; readonly key: string }[] = [];
  for (const { key, modifiedAt } of objects) {
    const place = parseKey(key);
    if (place === undefined || modifiedAt >= before || (uuid7Time(place.id) ?? 0) >= before) continue;
    const own = ours.get(place.app) ?? (await isOurs(options, place.app));
    ours.set(place.app, own);
    if (own && !(await isNeeded(options, key, place))) orphans.push({ app: place.app, key });
  }
  return await believed(options, orphans);
}

/** Asked after the look-ups: a queue that is sound now was sound when it said that no record names them. */
async function believed(
  { recovery }: OrphanSweepOptions,
  orphans: readonly { readonly app: string; readonly key: string }[],
): Promise<string[]> {
  const trusted = new Map<string, boolean>();
  for (const { app } of orphans) if (!trusted.has(app)) trusted.set(app, await recovery.trusted(app));
  return orphans.filter(({ app }) => trusted.get(app) === true).map(({ key }) => key);
}

async function orphanEntries(
  { apps, queue, clock }: OrphanSweepOptions,
  entries: readonly ListedObject[],
): Promise<string[]> {
  const before = clock.now() - ORPHAN_AGE_MS;
  const orphans: string[] = [];
  for (const { key, modifiedAt } of entries) {
    const app = mirroredApp(key);
    if (app === undefined || modifiedAt >= before || apps.byUid(app) !== undefined) continue;
    if ((await queue.remains(app)).closed) orphans.push(key);
  }
  return orphans;
}

async function isOurs({ apps, queue }: OrphanSweepOptions, uid: string): Promise<boolean> {
  return apps.byUid(uid) !== undefined || (await queue.remains(uid)).closed;
}

/** By the request that it bears the name of, or by one that inherited its body. */
async function isNeeded({ queue }: OrphanSweepOptions, key: string, place: ObjectPlace): Promise<boolean> {
  let id = place.id;
  for (let i = 0; i < REDRIVES_FOLLOWED; i++) {
    const record = await queue.get(place.app, id);
    if (isNamed(record, key, place)) return true;
    if (place.epoch !== undefined || record?.redrivenAs === undefined) return false;
    id = record.redrivenAs;
  }
  return true;
}

/** A result that is not committed belongs to the last attempt only, as long as that one may still commit it. */
function isNamed(record: RequestRecord | undefined, key: string, { epoch }: ObjectPlace): boolean {
  if (record === undefined) return false;
  if (record.body.key === key || record.result?.key === key) return true;
  return record.finishedAt === undefined && record.epoch === epoch;
}
