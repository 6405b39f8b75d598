// SPDX-License-Identifier: Apache-2.0
import { statSync, watch } from 'node:fs';
import { dirname } from 'node:path';

/** Editors and kubelets replace a file in several steps; reading waits until they are done. */
const SETTLE_MS = 50;

/**
 * Calls `changed` after something at `path` (a file, or a folder's entries) has changed. A file is watched through its folder:
 * replacing by rename (editors, ConfigMap mounts with their `..data` link) would leave a watch of the file itself on a dead inode.
 */
export function watchPath(path: string, changed: () => void): () => void {
  const folder = statSync(path).isDirectory() ? path : dirname(path);
  let timer: NodeJS.Timeout | undefined;
  const watcher = watch(folder, { persistent: false }, () => {
    clearTimeout(timer);
    timer = setTimeout(changed, SETTLE_MS);
  });
  return () => {
    clearTimeout(timer);
    watcher.close();
  };
}
