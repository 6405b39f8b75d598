// SPDX-License-Identifier: Apache-2.0
import * as fs from 'node:fs';
import { VramError, codeOf } from '../errors.ts';

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_RDWR } = fs.constants;
/** Bits that let another user in. */
const OTHERS = 0o077;

/**
 * Checks that a folder is the user's own, no link, and closed to everyone else.
 * @throws VramError `not-private`; what the system says when it is not there
 */
export function checkPrivateDir(path: string, uid: number): void {
  const stat = fs.lstatSync(path);
  if (stat.isSymbolicLink()) throw notPrivate(path, 'is a symbolic link', 'give the folder itself');
  if (!stat.isDirectory()) throw notPrivate(path, 'is not a folder', 'give another folder by --state-dir');
  checkOwner(path, stat, uid);
}

function checkOwner(path: string, { uid: owner, mode }: fs.Stats, uid: number): void {
  if (owner !== uid) throw notPrivate(path, `belongs to user ${owner}, and not to ${uid}`, 'sessions are private');
  if ((mode & OTHERS) !== 0)
    throw notPrivate(path, `is open to other users (mode ${(mode & 0o777).toString(8)})`, `chmod go= '${path}'`);
}

function notPrivate(path: string, why: string, fix: string): VramError {
  return new VramError('not-private', `${path} ${why}`, { fix });
}

/**
 * Opens a file of the user's own: a link is not followed, a FIFO is not waited for, nobody else may have a way in.
 * @param write read and write; otherwise read only
 * @throws VramError `not-private`; what the system says when it is not there
 */
export function withPrivateFile<T>(
  path: string,
  uid: number,
  write: boolean,
  use: (fd: number, size: number, inode: number) => T,
): T {
  let fd: number;
  try {
    fd = fs.openSync(path, (write ? O_RDWR : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK);
  } catch (err) {
    if (codeOf(err) !== 'ELOOP') throw err;
    throw notPrivate(path, 'is a symbolic link', 'remove it; penstock-vram makes none of that name');
  }
  try {
    const stat = fs.fstatSync(fd);
    if (!stat.isFile()) throw notPrivate(path, 'is not an ordinary file', 'remove it');
    checkOwner(path, stat, uid);
    return use(fd, stat.size, stat.ino);
  } finally {
    fs.closeSync(fd);
  }
}

/** The whole file, if it is not larger than `maxBytes`. @throws VramError `damaged`, and as `withPrivateFile` does */
export function readPrivateFile(path: string, uid: number, maxBytes: number): Uint8Array {
  return withPrivateFile(path, uid, false, (fd, size) => {
    if (size > maxBytes) throw new VramError('damaged', `${path} has ${size} bytes; at most ${maxBytes} are possible`);
    const bytes = new Uint8Array(size);
    let at = 0;
    while (at < size) {
      const read = fs.readSync(fd, bytes, at, size - at, at);
      // It was cut while it was read.
      if (read === 0) return bytes.subarray(0, at);
      at += read;
    }
    return bytes;
  });
}
