// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { VramError, codeOf } from '../errors.ts';

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

/** The command that makes the objects, for whoever has the repository. */
export const BUILD_COMMAND = 'make -C native';

/** @throws VramError `not-built` */
export function readObjects(libDir: string): ObjectFile[] {
  const found = OBJECTS.flatMap((name) => {
    try {
      return [{ name, bytes: readFileSync(join(libDir, name)) }];
    } catch (err) {
      if (codeOf(err) !== 'ENOENT') throw err;
      return [];
    }
  });
  if (found.length === OBJECTS.length) return found;
  const missing = OBJECTS.filter((name) => !found.some((file) => file.name === name));
  throw new VramError('not-built', `${libDir} holds no ${missing.join(' and no ')}`, {
    fix: `build them by \`${BUILD_COMMAND}\` in the folder of Penstock, or name their folder by --lib-dir or PENSTOCK_VRAM_LIB_DIR`,
  });
}
