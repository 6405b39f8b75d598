// SPDX-License-Identifier: Apache-2.0
// T4, what is not covered: a program that has nothing to do with GPUs notices nothing, and one that the loader gives no object runs as it would
// without us.
import { chmodSync, copyFileSync, mkdirSync, rmSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { BUILT, createSlice, PROGRAMS, runFake } from './slice.ts';
import type { Run, Slice } from './slice.ts';
import { OK, OUT_OF_MEMORY } from './steps.ts';

const GIB = 2 ** 30;
const NOBODY = 65_534;
const asRoot = process.getuid?.() === 0;
const program = (name: string): string => join(PROGRAMS, name);

let slice: Slice;
afterEach(() => slice.remove());

describe('a program that never touches CUDA', () => {
  const run = (command: string[], preload = slice.vram): Run => {
    const [file = '', ...args] = command;
    return runFake(file, args, { LD_PRELOAD: preload });
  };

  test.each(['inert', 'inert-static', 'inert-musl', 'inert-musl-static'])(
    '%s: threads, descriptors, handlers, masks and memory are as without us',
    (name) => {
      slice = createSlice({ limits: { 0: GIB } });
      const without = runFake(program(name), [], {});
      expect(without).toMatchObject({ status: 0, stderr: '' });
      expect(without.stdout).toMatch(/^threads 1 descriptors \d+ handlers 0 .* memory there\n$/);
      expect(run([program(name)])).toEqual(without);
      expect(run([program(name)], `${slice.vram}:${slice.nvml}`)).toEqual(without);
    },
  );

  test.runIf(process.arch === 'x64')('32 bits: runs, and the loader says that the object is not for it', () => {
    slice = createSlice({ limits: { 0: GIB } });
    const got = run([program('inert-32')]);
    expect(got).toMatchObject({ status: 0, stdout: runFake(program('inert-32'), [], {}).stdout });
    expect(got.stderr).toContain('wrong ELF class');
  });

  test('little address space: what suffices without us suffices with a megabyte more', () => {
    slice = createSlice({ limits: { 0: GIB } });
    const enough = (kib: number, preload: string): boolean =>
      run(['/bin/sh', '-c', `ulimit -v ${kib}; exec ${program('inert')}`], preload).stdout.includes('memory there');
    let kib = 5000;
    while (!enough(kib, '')) kib += 200;
    expect(enough(kib + 1024, slice.vram)).toBe(true);
  });

  test('a setuid program runs with its rights and without the object, in silence', () => {
    slice = createSlice({ limits: { 0: GIB } });
    const got = spawnAs(asRoot ? NOBODY : undefined, ['/usr/bin/mount', '--version'], { LD_PRELOAD: slice.vram });
    expect(got).toMatchObject({ status: 0, stderr: '' });
  });
});

function spawnAs(uid: number | undefined, command: string[], env: Record<string, string>): Run {
  const wanted = uid === undefined ? command : ['setpriv', `--reuid=${uid}`, '--clear-groups', ...command];
  const [file = '', ...args] = wanted;
  return runFake(file, args, env);
}

describe('an object that the loader cannot take', () => {
  const over = ['dlopen:libcuda.so.1', 'init', 'context:c:0', `alloc:a:${2 * GIB}`];
  const run = (preload: string): Run => runFake(program('driver-steps'), over, { LD_PRELOAD: preload });
  const copy = (name: string, change: (bytes: Buffer) => Buffer): string => {
    slice = createSlice({ limits: { 0: GIB } });
    const path = join(slice.folder, name);
    writeFileSync(path, change(readFileSync(join(BUILT, 'lib/libpenstock_vram.so'))));
    return path;
  };
  const withMachine = (machine: number) => (bytes: Buffer) => {
    bytes.writeUInt16LE(machine, 18);
    return bytes;
  };
  const PPC64 = 21;

  // Preloading is open by its nature: the loader says one line and goes on. `penstock-vram run` and `doctor` look before they start.
  test.each<[string, (bytes: Buffer) => Buffer, RegExp]>([
    ['for another machine', withMachine(PPC64), /cannot be preloaded/],
    ['cut off in its header', (bytes) => bytes.subarray(0, 40), /file too short/],
    ['empty', () => Buffer.alloc(0), /file too short/],
    ['of text', () => Buffer.from('#!/bin/sh\n'.repeat(20)), /invalid ELF header/],
  ])('%s: the program runs without a quota, and standard error says so', (_what, change, line) => {
    const got = run(copy('object.so', change));
    expect(got.status).toBe(0);
    expect(got.stdout).toContain(`alloc:a:${2 * GIB} = ${OK}`);
    expect(got.stderr).toMatch(line);
  });

  test('missing', () => {
    slice = createSlice({ limits: { 0: GIB } });
    const got = run(join(slice.folder, 'nowhere.so'));
    expect(got.status).toBe(0);
    expect(got.stderr).toMatch(/cannot open shared object file/);
  });

  test('cut off behind its header: no process gets as far as the driver', () => {
    const got = run(copy('object.so', (bytes) => bytes.subarray(0, 8192)));
    expect(got.status).not.toBe(0);
    expect(got.stdout).not.toContain('alloc:a');
  });

  test('on a file system mounted noexec', () => {
    slice = createSlice({ limits: { 0: GIB } });
    const folder = join(slice.folder, 'noexec');
    mkdirSync(folder);
    const script = [
      `mount -t tmpfs -o noexec none ${folder}`,
      `cp ${join(BUILT, 'lib/libpenstock_vram.so')} ${folder}/o.so`,
      `LD_PRELOAD=${folder}/o.so exec ${program('driver-steps')} ${over.join(' ')}`,
    ].join(' && ');
    const got = runFake('unshare', [asRoot ? '-m' : '-Urm', '/bin/sh', '-c', script], {});
    expect(got.status).toBe(0);
    expect(got.stderr).toMatch(/failed to map segment/);
  });

  test.each([
    ['a copy', false, [OK, OUT_OF_MEMORY]],
    ['a link, which nobody remembers: denied', true, [OUT_OF_MEMORY, OUT_OF_MEMORY]],
  ])('preloaded by a relative path, in a program that then changes its folder: %s', (_what, linked, expected) => {
    slice = createSlice({ limits: { 0: GIB } });
    if (linked) {
      rmSync(slice.vram);
      symlinkSync(join(BUILT, 'lib/libpenstock_vram.so'), slice.vram);
    }
    const steps = (...list: string[]): string =>
      runFake(
        '/bin/sh',
        [
          '-c',
          `cd ${slice.folder} && LD_PRELOAD=./libpenstock_vram.so exec ${program('driver-steps')} ${list.join(' ')}`,
        ],
        {},
      ).stdout;
    const list = ['init', 'context:c:0', 'alloc:a:1024', `alloc:b:${2 * GIB}`];
    const answers = (text: string): number[] =>
      text
        .split('\n')
        .filter((line) => line.startsWith('alloc:'))
        .map((line) => Number(line.split(' = ')[1]));
    expect(answers(steps('dlopen:libcuda.so.1', 'folder', ...list))).toEqual(expected);
    expect(answers(steps('dlopen:libcuda.so.1', ...list))).toEqual([OK, OUT_OF_MEMORY]);
  });

  test('a session whose object is a copy and not a link is the same session', () => {
    slice = createSlice({ limits: { 0: GIB } });
    mkdirSync(join(slice.folder, 'bin'));
    const path = join(slice.folder, 'bin/o.so');
    copyFileSync(join(BUILT, 'lib/libpenstock_vram.so'), path);
    chmodSync(path, 0o555);
    expect(run(path).stdout).toContain(`alloc:a:${2 * GIB} = ${OK}`); // no region beside it, no quota
    mkdirSync(join(slice.folder, 'region'));
    for (const file of ['control', 'ledger'])
      copyFileSync(join(slice.folder, file), join(slice.folder, 'region', file));
    expect(run(path).stdout).toContain(`alloc:a:${2 * GIB} = ${OUT_OF_MEMORY}`);
  });
});
