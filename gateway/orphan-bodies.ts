// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import { counter } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import type { Random } from '#base/random.ts';
import type { AppSource } from './apps/app-source.ts';
import type { LeaseQueue } from './queue/lease-queue.ts';
import { appPrefix } from './store/keys.ts';
import type { ObjectStore } from './store/object-store.ts';
import type { Sweep } from './sweeps.ts';

/** Far above the longest upload (REQUEST_TIMEOUT_MS) and any difference of clocks: what is older will never be enqueued. */
const ORPHAN_AGE_MS = 3_600_000;
/** One page of one app a minute: a listing and as many look-ups, whatever the store holds. */
const PAGE = 200;
const INTERVAL_MS = 60_000;

export interface OrphanSweepOptions {
  readonly queue: Pick<LeaseQueue, 'get'>;
  readonly store: Pick<ObjectStore, 'list' | 'delete'>;
  readonly apps: Pick<AppSource, 'list'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly registry: Registry;
}

export interface OrphanSweep extends Sweep {
  start(): void;
  /** Looks at the next page; how many bodies went. */
  step(): Promise<number>;
}

/**
 * Removes bodies of requests that were never queued: a gateway that is killed between storing a body and queueing its request
 * (DESIGN §3.1) leaves one, and the queue, which never heard of it, cannot name it. It only looks at bodies: objects of attempts are
 * named to the queue before they exist.
 */
export function createOrphanSweep(options: OrphanSweepOptions): OrphanSweep {
  const { queue, store, apps, clock, random, logger } = options;
  const removed = counter(
    options.registry,
    'penstock_gateway_orphan_bodies_total',
    'Bodies without a request, removed.',
  );
  const stopping = new AbortController();
  let loop: Promise<void> | undefined;
  /** Where the walk goes on. Lost with the process: then it starts from the first app again. */
  let place: { readonly uid: string; readonly cursor?: string } | undefined;

  const step = async (): Promise<number> => {
    const uids = apps
      .list()
      .map(({ uid }) => uid)
      .toSorted();
    const uid = place === undefined ? uids[0] : uids.find((one) => one >= (place?.uid ?? ''));
    if (uid === undefined) {
      place = undefined;
      return 0;
    }
    const prefix = `${appPrefix(uid)}bodies/`;
    const from = place?.uid === uid && place.cursor !== undefined ? { cursor: place.cursor } : {};
    const { objects, cursor } = await store.list(prefix, { limit: PAGE, ...from });
    const old = objects.filter(({ modifiedAt }) => modifiedAt < clock.now() - ORPHAN_AGE_MS);
    const orphans: string[] = [];
    for (const { key } of old) {
      if ((await queue.get(uid, key.slice(prefix.length))) === undefined) orphans.push(key);
    }
    if (orphans.length > 0) await store.delete(orphans);
    removed.inc(orphans.length);
    place = cursor === undefined ? after(uids, uid) : { uid, cursor };
    return orphans.length;
  };

  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      // Replicas spread out; the first pause keeps a restart from adding its own load.
      await clock.sleep(INTERVAL_MS * (0.5 + random.fraction()), stopping.signal).catch(() => undefined);
      if (stopping.signal.aborted) return;
      try {
        const count = await step();
        if (count > 0) logger.info({ count }, 'bodies without a request removed');
      } catch (err) {
        logger.warn({ err }, 'the walk over stored bodies failed; it goes on later');
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

function after(uids: readonly string[], uid: string): { readonly uid: string } | undefined {
  const next = uids.find((one) => one > uid);
  return next === undefined ? undefined : { uid: next };
}
