// SPDX-License-Identifier: Apache-2.0
import type { LeaseQueue, Payload, RequestRecord } from '../queue/lease-queue.ts';
import { parseKey, resultPrefix } from '../store/keys.ts';
import type { ListedObject, ObjectStore } from '../store/object-store.ts';
import { payloadType } from '../store/stored-type.ts';
import type { Slots } from './slots.ts';

/** Records of one page; a record costs one listing of the store. */
const PAGE = 64;

export interface SalvageOptions {
  readonly queue: Pick<LeaseQueue, 'live' | 'salvage'>;
  readonly store: Pick<ObjectStore, 'list' | 'head'>;
  /** Bounds the listings that run at once, over all apps. */
  readonly slots: Slots;
  readonly signal: AbortSignal;
}

/** Where a walk is: a walk that failed goes on here. */
export interface Walk {
  cursor?: string;
  looked: number;
  salvaged: number;
}

/**
 * One walk over the requests of an app that the queue believes unfinished: those whose result lies in the store are finished with it.
 * An object shows only when it is complete, and results are named by request and attempt, so each one found is a whole result.
 * @throws what queue or store threw; `walk` then says where to go on
 */
export async function salvageApp(options: SalvageOptions, app: string, walk: Walk): Promise<void> {
  const { queue, slots, signal } = options;
  for (;;) {
    signal.throwIfAborted();
    const page = await queue.live(app, PAGE, walk.cursor);
    const done = await Promise.all(page.records.map((record) => slots.run(() => salvageOne(options, app, record))));
    walk.looked += done.length;
    walk.salvaged += done.filter(Boolean).length;
    if (page.cursor === undefined) return;
    walk.cursor = page.cursor;
  }
}

/** A request whose client has cancelled it is left to end as cancelled. */
async function salvageOne(
  { queue, store }: SalvageOptions,
  app: string,
  { id, cancelRequested }: RequestRecord,
): Promise<boolean> {
  if (cancelRequested) return false;
  const latest = latestAttempt((await store.list(resultPrefix(app, id))).objects);
  if (latest === undefined) return false;
  const info = await store.head(latest.key);
  if (info === undefined) return false;
  const result: Payload = { ...payloadType(info.contentType), bytes: info.bytes, ...place(info) };
  return (await queue.salvage(app, id, result)) === 'committed';
}

function place({ key, bytes }: ListedObject): Pick<Payload, 'key'> {
  return bytes === 0 ? {} : { key };
}

/** The highest epoch; of two with the same one (a lost log tail repeats them) the newer object. */
function latestAttempt(objects: readonly ListedObject[]): ListedObject | undefined {
  const results = objects.filter(({ key }) => epochOf(key) > 0);
  return results.toSorted((a, b) => epochOf(b.key) - epochOf(a.key) || b.modifiedAt - a.modifiedAt)[0];
}

function epochOf(key: string): number {
  return parseKey(key)?.epoch ?? 0;
}
