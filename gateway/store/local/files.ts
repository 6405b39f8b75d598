// SPDX-License-Identifier: Apache-2.0
import { mkdir, open, rmdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Flushes a folder's entries, so that a rename or link in it outlives a power cut. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Makes a folder and flushes every parent that got a new entry. */
export async function makeFolder(folder: string): Promise<void> {
  const first = await mkdir(folder, { recursive: true });
  if (first === undefined) return;
  // From the parent of the topmost new folder down: without it the whole branch may be gone after a power cut.
  for (let at = folder; at.length >= first.length; at = dirname(at)) await syncFolder(dirname(at));
}

/** Removes `folder` and its parents below `top` as long as they are empty. */
export async function pruneEmpty(folder: string, top: string): Promise<void> {
  for (let at = folder; at.length > top.length && at.startsWith(top); at = dirname(at)) {
    try {
      await rmdir(at);
    } catch (err) {
      if (isCode(err, 'ENOENT')) continue;
      if (isCode(err, 'ENOTEMPTY', 'EEXIST')) return;
      throw err;
    }
  }
}

export function isCode(err: unknown, ...codes: readonly string[]): boolean {
  return err instanceof Error && 'code' in err && codes.includes(String(err.code));
}

/**
 * Where the object of a key lies. The name of an object ends with `=`, which no key contains, so that object `a` and the folder of
 * `a/b` never meet.
 */
export function objectPath(objects: string, key: string): string {
  return `${join(objects, key)}=`;
}

/** The segment of a key that a directory entry stands for, or undefined for a folder. */
export function objectName(entry: string): string | undefined {
  return entry.endsWith('=') ? entry.slice(0, -1) : undefined;
}
