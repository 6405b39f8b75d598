// SPDX-License-Identifier: Apache-2.0
import type { LeaseQueue, Payload } from '../queue/lease-queue.ts';
import type { ListedObject, ObjectStore } from '../store/object-store.ts';
import { payloadType } from '../store/stored-type.ts';
import { findResults } from './stored-results.ts';
import type { Slots } from './slots.ts';

/** Records of one page of the queue. */
const PAGE = 500;
/** Requests whose ids are held at once, and looked for by one pass over the store: some megabytes. */
const BATCH = 50_000;

export interface SalvageOptions {
  readonly queue: Pick<LeaseQueue, 'live' | 'salvage'>;
  readonly store: Pick<ObjectStore, 'list' | 'head'>;
  /** Bounds the calls of the store that run at once, over all apps. */
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
  for (;;) {
    const { ids, cursor } = await nextBatch(options, app, walk.cursor);
    for await (const found of findResults(options, app, ids)) {
      await Promise.all(
        found.map(async ([id, object]) => {
          if (await salvageOne(options, app, id, object)) walk.salvaged += 1;
        }),
      );
    }
    walk.looked += ids.length;
    if (cursor === undefined) return;
    walk.cursor = cursor;
  }
}

/** Ids of unfinished requests. One whose client has cancelled it is left to end as cancelled. */
async function nextBatch(
  { queue, signal }: SalvageOptions,
  app: string,
  from: string | undefined,
): Promise<{ readonly ids: string[]; readonly cursor: string | undefined }> {
  const ids: string[] = [];
  let cursor = from;
  do {
    signal.throwIfAborted();
    const page = await queue.live(app, PAGE, cursor);
    for (const { id, cancelRequested } of page.records) if (!cancelRequested) ids.push(id);
    cursor = page.cursor;
  } while (cursor !== undefined && ids.length < BATCH);
  return { ids, cursor };
}

async function salvageOne(
  { queue, store, slots }: SalvageOptions,
  app: string,
  id: string,
  { key }: ListedObject,
): Promise<boolean> {
  const info = await slots.run(() => store.head(key));
  if (info === undefined) return false;
  const { bytes, contentType } = info;
  const result: Payload = { ...payloadType(contentType), bytes, ...(bytes === 0 ? {} : { key }) };
  return (await queue.salvage(app, id, result)) === 'committed';
}
