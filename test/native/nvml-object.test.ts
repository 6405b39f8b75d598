// SPDX-License-Identifier: Apache-2.0
// libpenstock_nvml.so as a file: what the loader sees of it, and what a program that wants no GPU sees.
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createSlice, PROGRAMS, runFake } from './slice.ts';
import type { Slice } from './slice.ts';

let slice: Slice;
beforeAll(() => {
  slice = createSlice({ limits: { 0: 2 ** 30 } });
});
afterAll(() => slice.remove());

test('the object stands alone: the name of NVML, no library behind it, no versioned import, small', () => {
  const dynamic = execFileSync('readelf', ['-dW', slice.nvml], { encoding: 'utf8' });
  const symbols = execFileSync('readelf', ['-W', '--dyn-syms', slice.nvml], { encoding: 'utf8' });
  const undefinedOnes = symbols.split('\n').filter((line) => / UND \S/.test(line));
  expect(dynamic).toContain('soname: [libnvidia-ml.so.1]');
  expect(dynamic).not.toMatch(/NEEDED|TLS|VERNEED/);
  expect(
    undefinedOnes.map((line) =>
      line
        .trim()
        .split(/\s+/)
        .slice(3, 5)
        .concat(line.trim().split(/\s+/).at(-1) ?? ''),
    ),
  ).toEqual([['NOTYPE', 'WEAK', 'dl_iterate_phdr']]);
  expect(statSync(slice.nvml).size).toBeLessThanOrEqual(128 * 1024);
});

test.each(['inert', 'inert-musl'])('a program without a GPU notices nothing of it: %s', (program) => {
  const bare = runFake(join(PROGRAMS, program), [], { LD_PRELOAD: '' });
  expect(slice.run(join(PROGRAMS, program), [], { LD_PRELOAD: slice.nvml })).toEqual(bare);
});
