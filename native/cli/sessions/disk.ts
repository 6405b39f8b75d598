// SPDX-License-Identifier: Apache-2.0
import * as fs from 'node:fs';
import { dirname } from 'node:path';

/** Every step that changes the disk. Injected, so that a test can end the process before, between and after any two of them. */
export interface Disk {
  mkdir(path: string): void;
  /** Makes a file that must not exist, and writes the bytes through to the disk. */
  create(path: string, bytes: Uint8Array): void;
  /** Overwrites bytes in place, through to the disk. One call is one small aligned write. */
  overwrite(fd: number, bytes: Uint8Array, position: number): void;
  rename(from: string, to: string): void;
  /** Writes a folder's entries through to the disk. */
  syncDir(path: string): void;
  removeTree(path: string): void;
}

/** Nobody but the user. */
export const DIR_MODE = 0o700;
export const FILE_MODE = 0o600;

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_RDONLY, O_WRONLY } = fs.constants;

function withFile(path: string, flags: number, use: (fd: number) => void): void {
  const fd = fs.openSync(path, flags, FILE_MODE);
  try {
    use(fd);
  } finally {
    fs.closeSync(fd);
  }
}

export const systemDisk: Disk = {
  mkdir: (path) => fs.mkdirSync(path, { mode: DIR_MODE }),
  create: (path, bytes) =>
    withFile(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, (fd) => {
      // A umask takes bits away, and never gives any: the mode is what was asked for, or less.
      fs.fchmodSync(fd, FILE_MODE);
      let at = 0;
      while (at < bytes.length) at += fs.writeSync(fd, bytes, at);
      fs.fsyncSync(fd);
    }),
  overwrite: (fd, bytes, position) => {
    fs.writeSync(fd, bytes, 0, bytes.length, position);
    fs.fsyncSync(fd);
  },
  rename: (from, to) => fs.renameSync(from, to),
  syncDir: (path) => withFile(path, O_RDONLY | O_DIRECTORY, (fd) => fs.fsyncSync(fd)),
  removeTree: (path) => fs.rmSync(path, { recursive: true, force: true }),
};

/** Replaces a file so that a reader, or whoever comes after a crash, finds the old text or the new one, and never a part. */
export function replaceFile(disk: Disk, path: string, temporary: string, bytes: Uint8Array): void {
  disk.create(temporary, bytes);
  disk.rename(temporary, path);
  disk.syncDir(dirname(path));
}
