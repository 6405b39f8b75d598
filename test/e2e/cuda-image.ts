// SPDX-License-Identifier: Apache-2.0
// Programs that use a GPU and know nothing of Penstock, as images: native/programs with the C library and nothing else.
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { packImage } from '#hack/image.ts';
import { closure } from '#hack/ldd.ts';
import type { TarEntry } from '#hack/tar.ts';
import type { Cluster } from '#test/servers/cluster-run.ts';
import { CARD_UUID } from './shared-gpu.ts';

const root = join(import.meta.dirname, '../..');
const built = join(root, 'dist/native');
const programs = ['vram-use', 'driver-steps'];

/** Has the programs only: the driver comes with the device, as a real one does. */
export const CUDA_IMAGE = 'penstock/cuda-program:dev';
/** For `kubectl debug`, whose containers get no device: brings the driver itself, where NVIDIA's runtime would add it by NVIDIA_VISIBLE_DEVICES. */
export const DEBUG_IMAGE = 'penstock/cuda-debug:dev';

/** Builds the programs and fake drivers, and loads both images into the node. */
export async function loadCudaImages(cluster: Cluster): Promise<void> {
  const targets = programs.map((name) => join(built, 'programs', name));
  execFileSync('make', ['--no-print-directory', '-s', '-C', join(root, 'native'), 'fakes', ...targets]);
  const layer = unique(programs.flatMap((name) => closure(join(built, 'programs', name), `usr/bin/${name}`)));
  const driver: TarEntry = {
    kind: 'file',
    path: 'opt/driver/libcuda.so.1',
    source: join(built, 'fake/libcuda.so.1'),
    executable: true,
  };
  await load(cluster, CUDA_IMAGE, [layer]);
  await load(cluster, DEBUG_IMAGE, [layer, [driver]], {
    LD_LIBRARY_PATH: '/opt/driver',
    FAKE_CUDA_UUIDS: CARD_UUID,
  });
}

async function load(cluster: Cluster, name: string, layers: TarEntry[][], env = {}): Promise<void> {
  const archive = join(cluster.state, `${name.replaceAll(/[/:]/g, '-')}.tar`);
  packImage({ name, layers, entrypoint: [], env }, archive);
  await cluster.cluster('load', archive);
  rmSync(archive);
}

function unique(entries: TarEntry[]): TarEntry[] {
  return [...new Map(entries.map((entry) => [entry.path, entry])).values()];
}
