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
  const isFolder = statSync(path).isDirectory();
  let seen = isFolder ? '' : identityOf(path);
  let timer: NodeJS.Timeout | undefined;
  const look = (): void => {
    const now = isFolder ? '' : identityOf(path);
    // The folder of a file may be a busy place.
    if (!isFolder && now === seen) return;
    seen = now;
    changed();
  };
  const watcher = watch(isFolder ? path : dirname(path), { persistent: false }, () => {
    clearTimeout(timer);
    timer = setTimeout(look, SETTLE_MS);
  });
  return () => {
    clearTimeout(timer);
    watcher.close();
  };
}

/** Another text when the file (or what a link stands for) was written or replaced; 'none' while it is away. */
function identityOf(file: string): string {
  const facts = statSync(file, { throwIfNoEntry: false, bigint: true });
  return facts === undefined ? 'none' : `${facts.dev} ${facts.ino} ${facts.size} ${facts.mtimeNs} ${facts.ctimeNs}`;
}
