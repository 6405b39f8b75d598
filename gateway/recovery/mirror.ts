// SPDX-License-Identifier: Apache-2.0
import { isStoreError } from '../store/errors.ts';
import { MIRRORED_RUN_KEY, generationKey } from '../store/keys.ts';
import type { ObjectStore } from '../store/object-store.ts';

/** An entry is a line; whatever is longer is none. */
const ENTRY_MAX_BYTES = 1024;

/** How far the queue had come, as the object store remembers it: what outlives the queue's own loss. */
export interface Mirror {
  /** Undefined: nothing readable there. */
  generation(app: string): Promise<number | undefined>;
  run(): Promise<string | undefined>;
  /**
   * Makes the mirror say at least `generation`. It is read, compared, written when it is behind, and only a later read that finds it there
   * ends that: two replicas may write at once and the slower one win, then the other looks again at its next turn and writes once more.
   * No lock is needed, since every writer only ever wants more, and what is at rest costs nothing.
   */
  raise(app: string, generation: number): Promise<void>;
  noteRun(run: string): Promise<void>;
  /** Apps that are gone need no memory here. */
  retain(isKnown: (app: string) => boolean): void;
}

export function createMirror(store: Pick<ObjectStore, 'get' | 'put'>): Mirror {
  /** Read there, not merely written. */
  const confirmed = new Map<string, number>();
  const generation = async (app: string): Promise<number | undefined> => {
    const value = (await readEntry(store, generationKey(app)))?.['generation'];
    return Number.isSafeInteger(value) ? Number(value) : undefined;
  };
  return {
    generation,
    run: async () => {
      const value = (await readEntry(store, MIRRORED_RUN_KEY))?.['run'];
      return typeof value === 'string' ? value : undefined;
    },
    raise: async (app, wanted) => {
      if ((confirmed.get(app) ?? 0) >= wanted) return;
      const there = (await generation(app)) ?? 0;
      if (there >= wanted) confirmed.set(app, there);
      else await writeEntry(store, generationKey(app), { generation: wanted });
    },
    noteRun: (run) => writeEntry(store, MIRRORED_RUN_KEY, { run }),
    retain: (isKnown) => {
      for (const app of confirmed.keys()) if (!isKnown(app)) confirmed.delete(app);
    },
  };
}

type Entry = Readonly<Record<string, unknown>>;

/** Undefined for an absent entry and for one that is none of ours: both mean that nothing is known. */
async function readEntry(store: Pick<ObjectStore, 'get'>, key: string): Promise<Entry | undefined> {
  try {
    const { info, body } = await store.get(key);
    if (info.bytes > ENTRY_MAX_BYTES) {
      body.destroy();
      return undefined;
    }
    const chunks: Buffer[] = [];
    for await (const chunk of body as AsyncIterable<Buffer>) chunks.push(chunk);
    return parse(Buffer.concat(chunks).toString('utf8'));
  } catch (err) {
    if (isStoreError(err, 'not-found')) return undefined;
    throw err;
  }
}

function parse(text: string): Entry | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

async function writeEntry(store: Pick<ObjectStore, 'put'>, key: string, entry: Entry): Promise<void> {
  await store.put(key, Buffer.from(`${JSON.stringify(entry)}\n`), { contentType: 'application/json' });
}
