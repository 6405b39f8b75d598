// SPDX-License-Identifier: Apache-2.0
import { closeSync, constants, openSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { VramError } from '../errors.ts';
import { FILE_MODE } from './disk.ts';

const { O_CREAT, O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = constants;

/** Each holder needs some tens of milliseconds, and a hundred programs may be started at once; a holder may have been stopped. */
export const LOCK_WAIT_MS = 60_000;
/** The low byte of SQLite's error codes. */
const SQLITE_BUSY = 5;
const SQLITE_FULL = 13;

/**
 * Runs `use` as the only one of this user's penstock-vram. The lock is the kernel's (SQLite takes byte locks on the file), so one
 * that was killed holds nothing. Node itself offers no file locks.
 * @throws VramError `busy` after `waitMs`
 */
export function withLock<T>(stateDir: string, use: () => T, waitMs = LOCK_WAIT_MS): T {
  const path = join(stateDir, 'lock');
  // SQLite would make it by the umask.
  closeSync(openSync(path, O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK, FILE_MODE));
  const database = new DatabaseSync(path, { timeout: waitMs });
  try {
    begin(database, stateDir);
    return use();
  } finally {
    // Nothing was written, so there is nothing to roll back: closing lets go.
    database.close();
  }
}

function begin(database: DatabaseSync, stateDir: string): void {
  try {
    // With its journal in memory nothing is written: a full disk is no reason not to lock.
    database.exec('PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE');
  } catch (err) {
    const code = err instanceof Error && 'errcode' in err ? Number(err.errcode) : 0;
    if ((code & 0xff) === SQLITE_FULL)
      throw new VramError('storage', `the disk of ${stateDir} is full`, { fix: 'make room on it', cause: err });
    if ((code & 0xff) !== SQLITE_BUSY)
      throw new VramError(
        'storage',
        `${stateDir} cannot be locked: ${err instanceof Error ? err.message : String(err)}`,
        {
          fix: 'choose a folder on a local file system by --state-dir',
          cause: err,
        },
      );
    throw new VramError('busy', `another penstock-vram works in ${stateDir}`, {
      fix: `try again; fuser '${join(stateDir, 'lock')}' says which one`,
      cause: err,
    });
  }
}
