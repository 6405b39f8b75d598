// SPDX-License-Identifier: Apache-2.0
import { readdirSync, statSync, watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { isManifest } from './manifest-files.ts';

/** Editors and kubelets replace a file in several steps; reading waits until they are done. */
const SETTLE_MS = 50;

/**
 * Calls `changed` after something at `path` (a file, or a folder's entries) has changed. A file is watched through its folder:
 * replacing by rename (editors, ConfigMap mounts with their `..data` link) would leave a watch of the file itself on a dead inode.
 * For the same reason the folder is watched through its parent as well: a checkout may replace it as a whole.
 */
export function watchPath(path: string, changed: () => void): () => void {
  const full = resolve(path);
  const isFolder = statSync(full).isDirectory();
  const folder = isFolder ? full : dirname(full);
  const identity = (): string => (isFolder ? entriesOf(full) : identityOf(full));
  let seen = identity();
  let timer: NodeJS.Timeout | undefined;
  const look = (): void => {
    timer = undefined;
    const now = identity();
    // The folder may be a busy place: handlers write their files where they work.
    if (now === seen) return;
    seen = now;
    changed();
  };
  // Not started anew by each event: where something is written all the time, it would never end.
  const soon = (): void => void (timer ??= setTimeout(look, SETTLE_MS));
  let inner: FSWatcher | undefined = watch(folder, { persistent: false }, soon).on('error', soon);
  const outer = watchQuietly(dirname(folder), (name) => {
    if (name !== basename(folder)) return;
    inner?.close();
    inner = watchQuietly(folder, soon);
    soon();
  });
  return () => {
    clearTimeout(timer);
    inner?.close();
    outer?.close();
  };
}

/** Undefined where there is nothing to watch (now), or no right to. */
function watchQuietly(folder: string, onEvent: (name: string | null) => void): FSWatcher | undefined {
  try {
    return watch(folder, { persistent: false }, (_event, name) => onEvent(name)).on('error', () => onEvent(null));
  } catch {
    return undefined;
  }
}

/** Another text when a manifest has changed, or when any file has come or gone: a handler that was missing, say. */
function entriesOf(folder: string): string {
  try {
    const names = readdirSync(folder).toSorted();
    return names.map((name) => (isManifest(name) ? `${name} ${identityOf(join(folder, name))}` : name)).join('\n');
  } catch {
    return 'none';
  }
}

/** Another text when the file (or what a link stands for) was written or replaced; 'none' while it is away. */
function identityOf(file: string): string {
  const facts = statSync(file, { throwIfNoEntry: false, bigint: true });
  return facts === undefined ? 'none' : `${facts.dev} ${facts.ino} ${facts.size} ${facts.mtimeNs} ${facts.ctimeNs}`;
}
