// SPDX-License-Identifier: Apache-2.0
// The vendor's CUDA runtimes, for tests only: unpacked from PyPI's wheels into the cache, each pinned by its sha256.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

export interface CudaRuntime {
  readonly version: string;
  /** Folder of the libraries. */
  readonly folder: string;
  /** `libcudart.so.13` */
  readonly shared: string;
  /** `libcudart_static.a` */
  readonly archive: string;
}

interface Wheel {
  readonly version: string;
  /** Folder of the libraries inside the wheel. */
  readonly inside: string;
  readonly shared: string;
  /** By processor, as Node names it. */
  readonly files: Readonly<Record<string, { readonly path: string; readonly sha256: string }>>;
}

const host = 'https://files.pythonhosted.org/packages/';
const DOWNLOAD_LIMIT_MS = 120_000;
const wheels: readonly Wheel[] = [
  {
    version: '12.9.79',
    inside: 'nvidia/cuda_runtime/lib',
    shared: 'libcudart.so.12',
    files: {
      x64: {
        path: 'bc/46/a92db19b8309581092a3add7e6fceb4c301a3fd233969856a8cbf042cd3c/nvidia_cuda_runtime_cu12-12.9.79-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl',
        sha256: '25bba2dfb01d48a9b59ca474a1ac43c6ebf7011f1b0b8cc44f54eb6ac48a96c3',
      },
      arm64: {
        path: 'bc/e0/0279bd94539fda525e0c8538db29b72a5a8495b0c12173113471d28bce78/nvidia_cuda_runtime_cu12-12.9.79-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl',
        sha256: '83469a846206f2a733db0c42e223589ab62fd2fabac4432d2f8802de4bded0a4',
      },
    },
  },
  {
    version: '13.0.88',
    inside: 'nvidia/cu13/lib',
    shared: 'libcudart.so.13',
    files: {
      x64: {
        path: 'b1/1d/9ea7b0d420efcae3c546feb3ca14334c0d710ac19c156ac48fce07c3d6ae/nvidia_cuda_runtime-13.0.88-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl',
        sha256: '422a38f7c739ecbdd3a4b6ec7ed0a1d74db43d8e9bc26685f3d845638922b178',
      },
      arm64: {
        path: 'c8/66/7020819766edab221110be12f1f691e62efba29f667992693aea6c10649f/nvidia_cuda_runtime-13.0.88-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl',
        sha256: '8ba16a33998ee3ee2bf11c8f13e36e3ff86a1d6ad165ffeee863d6eabd0b5f67',
      },
    },
  },
  {
    version: '13.5.37',
    inside: 'nvidia/cu13/lib',
    shared: 'libcudart.so.13',
    files: {
      x64: {
        path: '0b/7c/14b8f5518f8951e9dca57ea80f44f8ea8bcc8671812e6cc38009f3205e57/nvidia_cuda_runtime-13.5.37-py3-none-manylinux2014_x86_64.manylinux_2_17_x86_64.whl',
        sha256: 'df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d',
      },
      arm64: {
        path: 'd4/8d/d162f19bd57e25048b654337c6f811802abe46c3da0f7d7052a2dfd709e8/nvidia_cuda_runtime-13.5.37-py3-none-manylinux2014_aarch64.manylinux_2_17_aarch64.whl',
        sha256: 'de2dc5a7367974228b0a69588a9acc9340d3768bef1bf38bf0801eb08497cd2d',
      },
    },
  },
];

export const cudaRuntimeVersions: readonly string[] = wheels.map(({ version }) => version);

/** Brings one into the cache unless it is there. */
export async function cudaRuntime(version: string): Promise<CudaRuntime> {
  const wheel = wheels.find((one) => one.version === version);
  if (wheel === undefined) throw new Error(`CUDA runtime ${version}: known are ${cudaRuntimeVersions.join(', ')}`);
  const cache = process.env['PENSTOCK_CACHE'] ?? join(homedir(), '.cache/penstock');
  const place = join(cache, `cudart-${version}`);
  if (!existsSync(place)) await bring(wheel, cache, place);
  const folder = join(place, wheel.inside);
  return { version, folder, shared: join(folder, wheel.shared), archive: join(folder, 'libcudart_static.a') };
}

async function bring(wheel: Wheel, cache: string, place: string): Promise<void> {
  const file = wheel.files[process.arch];
  if (file === undefined) throw new Error(`CUDA runtime ${wheel.version}: none is pinned for ${process.arch}`);
  const response = await fetch(host + file.path, { signal: AbortSignal.timeout(DOWNLOAD_LIMIT_MS) });
  if (!response.ok) throw new Error(`${host}${file.path}: ${response.status}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  const sha256 = createHash('sha256').update(bytes).digest('hex');
  if (sha256 !== file.sha256) throw new Error(`${host}${file.path}: sha256 ${sha256}, expected ${file.sha256}`);
  await mkdir(cache, { recursive: true });
  // Two runs at once each unpack into a folder of their own; the rename decides.
  const unpacked = await mkdtemp(join(cache, 'cudart.'));
  await writeFile(join(unpacked, 'runtime.whl'), bytes);
  await promisify(execFile)('python3', ['-m', 'zipfile', '-e', 'runtime.whl', '.'], { cwd: unpacked });
  await rm(join(unpacked, 'runtime.whl'));
  try {
    await rename(unpacked, place);
  } catch (error) {
    await rm(unpacked, { recursive: true, force: true });
    if (!existsSync(place)) throw error;
  }
}
