// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MACHINES, readElf } from '../doctor/elf.ts';
import { VramError, codeOf } from '../errors.ts';
import { readPrivateFile } from './private-file.ts';

/** The hook of the driver; without it there is no session. */
export const VRAM_OBJECT = 'libpenstock_vram.so';
/** The hook of NVML, so that tools show the share too. */
export const NVML_OBJECT = 'libpenstock_nvml.so';
/** In the order in which they are preloaded. */
const OBJECTS = [VRAM_OBJECT, NVML_OBJECT] as const;

export interface ObjectFile {
  readonly name: string;
  readonly bytes: Uint8Array;
}

/** What a session's own copy has to be: a loader that finds something else there starts the program without it. */
export interface ObjectDigest {
  readonly name: string;
  readonly sha256: string;
}

/** Ours have some hundred KiB. */
const OBJECT_MAX_BYTES = 2 ** 24;

/** The command that makes the objects, for whoever has the repository. */
export const BUILD_COMMAND = 'make -C native';

/** @throws VramError `not-built`, also where something else lies in their place */
export function readObjects(libDir: string): ObjectFile[] {
  const found = OBJECTS.flatMap((name) => {
    try {
      return [{ name, bytes: readFileSync(join(libDir, name)) }];
    } catch (err) {
      if (codeOf(err) !== 'ENOENT') throw err;
      return [];
    }
  });
  for (const { name, bytes } of found) checkLoadable(join(libDir, name), bytes);
  if (found.length === OBJECTS.length) return found;
  const missing = OBJECTS.filter((name) => !found.some((file) => file.name === name));
  throw new VramError('not-built', `${libDir} holds no ${missing.join(' and no ')}`, {
    fix: FIX_NOT_BUILT,
  });
}

const FIX_NOT_BUILT = `build them by \`${BUILD_COMMAND}\` in the folder of Penstock, or name their folder by --lib-dir or PENSTOCK_VRAM_LIB_DIR`;
/** Where the header of a 64-bit ELF file says how its table of sections lies: the last thing in an object of ours. */
const ELF64 = { shoff: 40, shentsize: 58, shnum: 60, header: 64 } as const;

/** The loader only warns of an object that it cannot load, and starts the program without it. */
function checkLoadable(path: string, bytes: Uint8Array): void {
  const elf = readElf(path);
  if (elf?.bits === 64 && elf.machine === MACHINES[process.arch] && isWhole(bytes)) return;
  throw new VramError('not-built', `${path} is not an object for this machine (${process.arch}), or a part of one`, {
    fix: FIX_NOT_BUILT,
  });
}

function isWhole(bytes: Uint8Array): boolean {
  if (bytes.length < ELF64.header) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const sections = view.getUint16(ELF64.shentsize, true) * view.getUint16(ELF64.shnum, true);
  return Number(view.getBigUint64(ELF64.shoff, true)) + sections <= bytes.length;
}

export function digestOf({ name, bytes }: ObjectFile): ObjectDigest {
  return { name, sha256: createHash('sha256').update(bytes).digest('hex') };
}

/**
 * Checks that the objects in a session's folder are those that it was made with.
 * @throws VramError `damaged` or `not-private`; what the system says when one is not there
 */
export function checkObjects(dir: string, uid: number, digests: readonly ObjectDigest[]): void {
  for (const name of OBJECTS) {
    const path = join(dir, name);
    const { sha256 } = digestOf({ name, bytes: readPrivateFile(path, uid, OBJECT_MAX_BYTES) });
    if (digests.some((digest) => digest.name === name && digest.sha256 === sha256)) continue;
    throw new VramError('damaged', `${path}: it is not the object that the session was made with`, {
      fix: 'penstock-vram release --force takes the session away',
    });
  }
}
