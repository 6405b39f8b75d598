// SPDX-License-Identifier: Apache-2.0
import { link, open, rename, unlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Random } from '#base/random.ts';
import type { MeteredBody } from '../body.ts';
import { storeError, unavailable } from '../errors.ts';
import { isCode, makeFolder, objectPath, syncFolder } from './files.ts';
import { encodeHeader } from './format.ts';

export interface Folders {
  /** Complete objects. */
  readonly objects: string;
  /** Objects being written; nothing here is ever read. */
  readonly temporary: string;
}

/** A delete may prune the folder between its making and the link into it; each round lost means another object's delete won. */
const PLACE_ROUNDS = 20;

/** Writes, flushes, then shows a whole object. On any error nothing of it is left. */
export async function writeObject(
  folders: Folders,
  random: Random,
  key: string,
  body: MeteredBody,
  options: { readonly contentType: string; readonly createOnly: boolean },
): Promise<void> {
  const temporary = join(folders.temporary, Buffer.from(random.bytes(12)).toString('hex'));
  let placed = false;
  try {
    await writeTemporary(temporary, encodeHeader(options.contentType), body);
    placed = await place(temporary, objectPath(folders.objects, key), options.createOnly);
  } catch (err) {
    if (body.failure() !== undefined) throw body.failure();
    throw unavailable(`cannot store object ${key}`, err);
  } finally {
    if (!placed) await unlink(temporary).catch(() => undefined);
  }
  if (!placed) throw storeError('exists', `object ${key} exists`);
}

async function writeTemporary(path: string, header: Buffer, body: MeteredBody): Promise<void> {
  const handle = await open(path, 'wx', 0o600);
  try {
    await handle.writeFile(header);
    await handle.writeFile(body.chunks);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** False when create-only lost: link(2) fails on an existing name, atomically, where a rename would replace it. */
async function place(temporary: string, path: string, createOnly: boolean): Promise<boolean> {
  const folder = dirname(path);
  for (let round = 1; ; round++) {
    try {
      await makeFolder(folder);
      if (createOnly) await link(temporary, path);
      else await rename(temporary, path);
      break;
    } catch (err) {
      if (createOnly && isCode(err, 'EEXIST')) return false;
      if (!isCode(err, 'ENOENT') || round === PLACE_ROUNDS) throw err;
    }
  }
  if (createOnly) await unlink(temporary);
  await syncFolder(folder);
  return true;
}
