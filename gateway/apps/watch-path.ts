// SPDX-License-Identifier: Apache-2.0
import { statSync, watch } from 'node:fs';
import type { FSWatcher } from 'node:fs';
import { basename, dirname, resolve } from 'node:path';

/** Editors and kubelets replace a file in several steps; reading waits until they are done. */
const SETTLE_MS = 50;

/**
 * Calls `changed` after something at `path` (a file, or a folder's entries) has changed. A file is watched through its folder:
 * replacing by rename (editors, ConfigMap mounts with their `..data` link) would leave a watch of the file itself on a dead inode.
 * For the same reason the folder is watched through its parent as well: a checkout may replace it as a whole.
 */
export function watchPath(path: string, changed: () => void): () => void {
  const full = resolve(path);
  const folder = statSync(full).isDirectory() ? full : dirname(full);
  let timer: NodeJS.Timeout | undefined;
  const soon = (): void => {
    clearTimeout(timer);
    timer = setTimeout(changed, SETTLE_MS);
  };
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
