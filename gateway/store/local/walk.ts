// SPDX-License-Identifier: Apache-2.0
import type { Dirent } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { isCode, objectName } from './files.ts';

interface Entry {
  /** What keys below sort as: a folder as `name/`, since every key in it has that slash. */
  readonly order: string;
  readonly folder: boolean;
}

/** Keys that start with `prefix` and come after `after`, in the order of their characters; reads only folders that can hold one. */
export async function* walkKeys(
  objects: string,
  prefix: string,
  after: string,
): AsyncGenerator<string, void, undefined> {
  yield* walk('');

  async function* walk(base: string): AsyncGenerator<string, void, undefined> {
    for (const entry of await entriesOf(join(objects, base))) {
      const key = `${base}${entry.order}`;
      if (!entry.folder) {
        if (key.startsWith(prefix) && key > after) yield key;
      } else if (mayHold(key)) yield* walk(key);
    }
  }
  function mayHold(folder: string): boolean {
    return (folder.startsWith(prefix) || prefix.startsWith(folder)) && (folder > after || after.startsWith(folder));
  }
}

async function entriesOf(folder: string): Promise<Entry[]> {
  const found = await readdir(folder, { withFileTypes: true }).catch((err: unknown) => {
    // A delete has pruned it since its parent was read.
    if (isCode(err, 'ENOENT')) return [] as Dirent[];
    throw err;
  });
  const entries: Entry[] = [];
  for (const entry of found) {
    const name = objectName(entry.name);
    if (entry.isDirectory()) entries.push({ order: `${entry.name}/`, folder: true });
    else if (name !== undefined) entries.push({ order: name, folder: false });
  }
  return entries.sort((a, b) => (a.order < b.order ? -1 : 1));
}
