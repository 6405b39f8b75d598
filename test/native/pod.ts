// SPDX-License-Identifier: Apache-2.0
// What a container of a sliced pod sees: lib/ with the objects, quota/ from the kubelet, and an empty region/ that any user may write to.
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BUILT, FAKES, runFake } from './slice.ts';
import type { Run } from './slice.ts';

export interface Pod {
  readonly folder: string;
  readonly lib: string;
  readonly region: string;
  readonly quota: string;
  /** What its programs find in their environment. */
  readonly env: Readonly<Record<string, string>>;
  run(program: string, args?: readonly string[], env?: Readonly<Record<string, string>>): Run;
  remove(): void;
}

/** @param quota text of the file; undefined: there is none */
export function createPod(quota: string | Uint8Array | undefined): Pod {
  const folder = mkdtempSync(join(tmpdir(), 'penstock-pod-'));
  chmodSync(folder, 0o755);
  const [lib, region, quotas, driver] = ['lib', 'region', 'quota', 'driver'].map((name) => {
    const path = join(folder, name);
    mkdirSync(path);
    return path;
  }) as [string, string, string, string];
  // Copies: another user need not be able to look into the folder of the build.
  for (const name of ['libpenstock_vram.so', 'libpenstock_nvml.so'])
    copyFileSync(join(BUILT, 'lib', name), join(lib, name));
  for (const name of ['libcuda.so.1', 'libnvidia-ml.so.1']) copyFileSync(join(FAKES, name), join(driver, name));
  chmodSync(region, 0o777);
  if (quota !== undefined) writeFileSync(join(quotas, 'limit'), quota);
  const env = {
    LD_PRELOAD: `${join(lib, 'libpenstock_vram.so')}:${join(lib, 'libpenstock_nvml.so')}`,
    LD_LIBRARY_PATH: driver,
  };
  return {
    folder,
    lib,
    region,
    quota: quotas,
    env,
    run: (program, args = [], more = {}) => runFake(program, args, { ...env, ...more }),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
