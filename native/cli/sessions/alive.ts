// SPDX-License-Identifier: Apache-2.0
import { closeSync, constants, fstatSync, lstatSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { VramError, codeOf } from '../errors.ts';
import { FILE_MODE } from './disk.ts';

const { O_NOFOLLOW, O_NONBLOCK, O_WRONLY } = constants;

/**
 * A FIFO that every program of `run` and `attach` holds open for reading, and its children with it, until they end or close it. Nothing
 * is ever written: the kernel knows whether there is a reader, whatever PID namespace he lives in, and tells whoever opens the other end.
 */
export const aliveOf = (dir: string): string => join(dir, 'alive');

/** @throws VramError `damaged` where something else lies in its place: programs could not hold it */
export function checkAlive(dir: string, uid: number): void {
  const path = aliveOf(dir);
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (stat === undefined || (stat.isFIFO() && stat.uid === uid && (stat.mode & 0o777) === FILE_MODE)) return;
  throw new VramError('damaged', `${path}: it is not the FIFO that penstock-vram makes`, {
    fix: 'penstock-vram release --force takes the session away',
  });
}

/** Whether any process of this machine holds the session's FIFO. The script makes it with the first program. */
export function isHeld(dir: string): boolean {
  let fd: number;
  try {
    fd = openSync(aliveOf(dir), O_WRONLY | O_NONBLOCK | O_NOFOLLOW);
  } catch (err) {
    if (UNHELD.has(codeOf(err))) return false;
    throw err;
  }
  try {
    return fstatSync(fd).isFIFO();
  } finally {
    closeSync(fd);
  }
}

/** No reader (ENXIO); no FIFO there, or not ours, or no session. */
const UNHELD = new Set(['ENXIO', 'ENOENT', 'ENOTDIR', 'ELOOP', 'EISDIR', 'EACCES']);
