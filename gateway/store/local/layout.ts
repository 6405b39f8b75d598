// SPDX-License-Identifier: Apache-2.0
import { link, readFile, readdir, unlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { Random } from '#base/random.ts';
import { storeError, unavailable } from '../errors.ts';
import { LAYOUT_KEY } from '../keys.ts';
import { LAYOUT_MARKER, LAYOUT_MARKER_MAX_BYTES, checkLayout } from '../layout.ts';
import { isCode, makeFolder, syncFolder } from './files.ts';
import type { Folders } from './write.ts';

/**
 * Opens or makes the store's folders: `layout.json`, `objects/`, `tmp/`. What a killed process left half written in `tmp/` is removed.
 * @throws StoreError `layout` when the folder is of another version, or is someone else's
 */
export async function openFolders(root: string, random: Random): Promise<Folders> {
  const at = resolve(root);
  const folders = { objects: join(at, 'objects'), temporary: join(at, 'tmp') };
  try {
    await makeFolder(at);
    await checkMarker(at, random);
    await makeFolder(folders.objects);
    await makeFolder(folders.temporary);
    for (const left of await readdir(folders.temporary)) await unlink(join(folders.temporary, left));
  } catch (err) {
    throw unavailable(`the folder ${at} cannot hold objects`, err);
  }
  return folders;
}

async function checkMarker(root: string, random: Random): Promise<void> {
  const path = join(root, LAYOUT_KEY);
  const marker = await readFile(path, 'utf8').catch((err: unknown) => {
    if (isCode(err, 'ENOENT')) return undefined;
    throw err;
  });
  if (marker !== undefined) return checkLayout(marker.slice(0, LAYOUT_MARKER_MAX_BYTES), root);
  const found = (await readdir(root)).filter((name) => !name.startsWith('.'));
  if (found.length > 0) {
    throw storeError('layout', `${root} is not empty and has no ${LAYOUT_KEY}: it is not an object store of Penstock`, {
      fix: 'name an empty or absent folder',
    });
  }
  await writeMarker(root, path, random);
}

/** By link, so that a marker is whole or absent, and the first of two starts wins. */
async function writeMarker(root: string, path: string, random: Random): Promise<void> {
  const temporary = join(root, `.layout-${Buffer.from(random.bytes(8)).toString('hex')}`);
  await writeFile(temporary, LAYOUT_MARKER, { flag: 'wx', flush: true });
  try {
    await link(temporary, path);
  } catch (err) {
    if (!isCode(err, 'EEXIST')) throw err;
    checkLayout(await readFile(path, 'utf8'), root);
  } finally {
    await unlink(temporary);
  }
  await syncFolder(root);
}
