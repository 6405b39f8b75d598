// SPDX-License-Identifier: Apache-2.0
import { parseKey, resultsPrefix } from '../store/keys.ts';
import type { ListedObject, ObjectPage, ObjectStore } from '../store/object-store.ts';
import type { Slots } from './slots.ts';

export interface FindOptions {
  readonly store: Pick<ObjectStore, 'list'>;
  readonly slots: Slots;
  readonly signal: AbortSignal;
}

type Found = readonly [id: string, latest: ListedObject];

/**
 * The latest result in the store of each of these requests, where there is one, page by page. Ids and keys are both in order of time, so one pass
 * over the listing answers all of them and leaps over what lies between: at most one page for each id, and mostly one page for all, since
 * what is unfinished is younger than what is done.
 */
export async function* findResults(
  { store, slots, signal }: FindOptions,
  app: string,
  wanted: readonly string[],
): AsyncGenerator<readonly Found[], void, undefined> {
  const ids = wanted.toSorted();
  const prefix = resultsPrefix(app);
  for (let at = 0; at < ids.length;) {
    signal.throwIfAborted();
    const page = await slots.run(() => store.list(prefix, { cursor: `${prefix}${ids[at]}` }));
    const last = page.cursor === undefined ? undefined : lastId(page, prefix);
    const next = last === undefined ? ids.length : indexFrom(ids, last, at);
    // Attempts of the last id may go on behind the page: it is looked at again, unless the whole page was its own.
    const done = next === at ? at + 1 : next;
    const latest = latestOf(page.objects);
    yield ids.slice(at, done).flatMap((id): Found[] => {
      const object = latest.get(id);
      return object === undefined ? [] : [[id, object]];
    });
    at = done;
  }
}

function lastId({ objects }: ObjectPage, prefix: string): string | undefined {
  return objects.at(-1)?.key.slice(prefix.length).split('/')[0];
}

/** Where in the order the first id is that is not before `id`, looked for from `from` on. */
function indexFrom(ids: readonly string[], id: string, from: number): number {
  let [low, high] = [from, ids.length];
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if ((ids[middle] ?? '') < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** By request. The highest epoch; of two with the same one (a lost log tail repeats them) the newer object. */
function latestOf(objects: readonly ListedObject[]): ReadonlyMap<string, ListedObject> {
  const found = new Map<string, { readonly epoch: number; readonly object: ListedObject }>();
  for (const object of objects) {
    const { id, epoch } = parseKey(object.key) ?? {};
    if (id === undefined || epoch === undefined) continue;
    const best = found.get(id);
    const newer = epoch === best?.epoch && object.modifiedAt > best.object.modifiedAt;
    if (best === undefined || epoch > best.epoch || newer) found.set(id, { epoch, object });
  }
  return new Map([...found].map(([id, { object }]) => [id, object]));
}
