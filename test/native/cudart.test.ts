// SPDX-License-Identifier: Apache-2.0
// T1: the vendor's own runtimes, static and shared, bind every allocation to our object. Against a fake driver they refuse to
// work after that (notes of the session: the runtime checks the driver by private tables); what they were given is what counts.
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cudaRuntime, cudaRuntimeVersions } from '#hack/cudart.ts';
import { createSlice } from './slice.ts';
import type { Slice } from './slice.ts';

const GIB = 2 ** 30;
/** What allocates, frees or tells of device memory, as far as these runtimes look it up. */
const OURS =
  /^cu(MemAlloc(Pitch|Managed|Async|FromPoolAsync)?|MemFree(Async)?|MemGetInfo|DeviceTotalMem|Array(3D)?Create|ArrayDestroy|MipmappedArray(Create|Destroy)|MemPool(Create|Destroy|TrimTo|SetAttribute)|MemCreate|MemRelease|MemMap|MemUnmap|MemRetainAllocationHandle|GetProcAddress)$/;

interface LookUp {
  readonly name: string;
  readonly version: number;
  readonly flags: number;
  readonly symbol: string;
  readonly file: string;
}

function lookUps(stdout: string): LookUp[] {
  return stdout.split('\n').flatMap((line) => {
    const [kind, name = '', version, flags, , symbol = '', file = ''] = line.split(' ');
    return kind === 'look-up' ? [{ name, version: Number(version), flags: Number(flags), symbol, file }] : [];
  });
}

const folder = mkdtempSync(join(tmpdir(), 'penstock-cudart-'));
let slice: Slice;
beforeAll(() => {
  slice = createSlice({ limits: { 0: GIB } });
});
afterAll(() => {
  slice.remove();
  rmSync(folder, { recursive: true, force: true });
});

async function build(version: string, linked: 'static' | 'shared'): Promise<string> {
  const runtime = await cudaRuntime(version);
  const program = join(folder, `binding-${version}-${linked}`);
  const source = join(import.meta.dirname, 'cudart/binding.c');
  const library =
    linked === 'static' ? [runtime.archive, '-lpthread', '-lrt'] : [runtime.shared, `-Wl,-rpath,${runtime.folder}`];
  await promisify(execFile)('gcc', ['-D_GNU_SOURCE', '-rdynamic', '-o', program, source, ...library, '-ldl']);
  return program;
}

const cases = cudaRuntimeVersions.flatMap((version) => [
  { version, linked: 'static' as const },
  { version, linked: 'shared' as const },
]);

describe.each(cases)('the $linked CUDA runtime $version', ({ version, linked }) => {
  test('gets our address for each allocation it looks up, and the driver gets each question unchanged', async () => {
    const program = await build(version, linked);
    const trace = join(folder, `trace-${version}-${linked}`);
    const run = slice.run(program, [], { FAKE_CUDA_TRACE: trace });
    expect(run).toMatchObject({ status: 0, stderr: '' });
    expect(run.stdout).toContain(`dlsym cuGetProcAddress_v2 ${slice.vram}`);

    const found = lookUps(run.stdout);
    const ours = found.filter(({ name }) => OURS.test(name));
    expect(new Set(ours.map(({ name }) => name)).size).toBeGreaterThanOrEqual(18);
    expect(ours.filter(({ file }) => file !== slice.vram)).toEqual([]);
    // Per-thread default streams: another function, and ours.
    const perThread = ours.filter(({ flags, name }) => flags === 2 && name.endsWith('Async'));
    expect(perThread.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['cuMemAllocAsync', 'cuMemFreeAsync', 'cuMemAllocFromPoolAsync']),
    );
    expect(perThread.filter(({ symbol }) => !symbol.endsWith('_ptsz'))).toEqual([]);
    expect(ours.find(({ name, version: asked }) => name === 'cuMemAlloc' && asked === 3020)?.symbol).toBe(
      'cuMemAlloc_v2',
    );

    const asked = readFileSync(trace, 'utf8').matchAll(/look-up cuGetProcAddress\w* "(\w*)" (\d+) (\d)/g);
    const forwarded = new Set([...asked].map(([, name = '', at = '', flags = '']) => `${name || '-'} ${at} ${flags}`));
    expect(found.map((one) => `${one.name} ${one.version} ${one.flags}`).filter((one) => !forwarded.has(one))).toEqual(
      [],
    );
  });

  test('gets the driver itself for everything where there is no quota', async () => {
    const program = await build(version, linked);
    const open = createSlice({});
    try {
      const run = open.run(program);
      const strangers = lookUps(run.stdout).filter(
        ({ file, name }) => file === open.vram && !name.startsWith('cuGetProcAddress'),
      );
      expect(run).toMatchObject({ status: 0, stderr: '' });
      expect(strangers).toEqual([]);
    } finally {
      open.remove();
    }
  });
});
