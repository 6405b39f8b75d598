// SPDX-License-Identifier: Apache-2.0
// What the preloaded object is made of: every process of a session maps it, so a need of its own would be a need of all of them.
import { spawnSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { BUILT } from './slice.ts';

const object = join(BUILT, 'lib/libpenstock_vram.so');
const KIB = 1024;

function readelf(...args: string[]): string {
  const { status, stdout, stderr } = spawnSync('readelf', ['-W', ...args, object], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`readelf: ${stderr}`);
  return stdout;
}

describe('libpenstock_vram.so', () => {
  test('goes by the name of the driver, needs no other object and runs no constructor', () => {
    const dynamic = readelf('-d');
    expect(dynamic).toContain('Library soname: [libcuda.so.1]');
    for (const tag of ['NEEDED', 'INIT', 'FINI', 'TEXTREL', 'VERNEED', 'RPATH', 'RUNPATH'])
      expect(dynamic).not.toContain(`(${tag}`);
  });

  test('imports one name, weakly and without a version', () => {
    const imports = readelf('--dyn-syms')
      .split('\n')
      .filter((line) => line.includes(' UND '))
      .map((line) => line.trim().split(/\s+/).slice(3));
    expect(imports).toEqual([
      ['NOTYPE', 'LOCAL', 'DEFAULT', 'UND'],
      ['NOTYPE', 'WEAK', 'DEFAULT', 'UND', 'dl_iterate_phdr'],
    ]);
  });

  test('exports every entry point of the driver API and dlsym, and nothing else', () => {
    const exported = readelf('--dyn-syms')
      .split('\n')
      .filter((line) => / (GLOBAL|WEAK) +DEFAULT +\d/.test(line))
      .map((line) => line.trim().split(/\s+/).at(-1));
    const known = readFileSync(new URL('../../native/cuda/symbols.txt', import.meta.url), 'utf8')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => line.split(' ')[0]);
    expect(new Set(exported)).toEqual(new Set([...known, 'dlsym', 'penstock_vram_abi']));
    expect(known.length).toBeGreaterThan(700);
  });

  test('has no thread-local storage, no executable stack, relocations that are done at start and made read-only', () => {
    const headers = readelf('-l');
    expect(headers).not.toMatch(/\bTLS\b/);
    expect(headers).toMatch(/GNU_STACK .* RW /);
    expect(headers).toContain('GNU_RELRO');
    expect(readelf('-d')).toMatch(/FLAGS_1.*NOW/);
    expect(readelf('-n')).toContain('NT_GNU_BUILD_ID');
  });

  test('is at most 128 KiB', () => {
    expect(statSync(object).size).toBeLessThanOrEqual(128 * KIB);
  });
});
