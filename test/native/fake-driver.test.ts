// SPDX-License-Identifier: Apache-2.0
// The fake driver is what the quota's tests believe in, so it is tested by itself: nothing is preloaded here.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { PROGRAMS, runFake } from './slice.ts';

const GIB = 2 ** 30;
const folder = mkdtempSync(join(tmpdir(), 'penstock-fake-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const settings: readonly [string, Readonly<Record<string, string>>][] = [
  ['as it is', {}],
  ['with all threads in one arena', { FAKE_CUDA_ARENAS: '1' }],
  ['with a card shared by processes', { FAKE_CUDA_HEAP: join(folder, 'heap') }],
  ['with latency', { FAKE_CUDA_LATENCY_US: '0-1' }],
];
test.each(settings)('allocates, frees and refuses as a driver does, %s', (_, env) => {
  const run = runFake(join(PROGRAMS, 'fake-check'), [], {
    FAKE_CUDA_GRAIN: '1',
    FAKE_CUDA_MEMORY: String(4 * GIB),
    ...env,
  });
  expect(run).toEqual({ status: 0, signal: null, stdout: '', stderr: '' });
});

const steps = (list: readonly string[], env: Readonly<Record<string, string>>): string[] =>
  runFake(join(PROGRAMS, 'runtime-steps'), list, env).stdout.trimEnd().split('\n');

test('fails the call that it is told to, with the code that it is told', () => {
  const list = ['malloc:1', 'malloc:1', 'malloc:1', 'free:0', 'free:1', 'async:1'];
  const found = steps(list, { FAKE_CUDA_FAIL: 'cuMemAlloc_v2:2,cuMemFree_v2:1:719,cuMemAllocAsync:1+' });
  expect(found.filter((line) => !line.startsWith(' ')).map((line) => line.slice(line.indexOf(' -> ') + 4))).toEqual([
    '0',
    'cudaErrorMemoryAllocation',
    '0',
    'cudaError',
    '0',
    'cudaErrorMemoryAllocation',
  ]);
  expect(found).toContain('  code 719');
});

test('a context costs what it is told to', () => {
  expect(steps(['info'], { FAKE_CUDA_CONTEXT: String(GIB), FAKE_CUDA_MEMORY: String(3 * GIB) })).toEqual([
    `info -> 0 free ${2 * GIB} total ${3 * GIB}`,
  ]);
});

test('shows the cards of CUDA_VISIBLE_DEVICES, each with its own memory', () => {
  const env = {
    FAKE_CUDA_DEVICES: '3',
    FAKE_CUDA_MEMORY: `${GIB},${2 * GIB},${3 * GIB}`,
    CUDA_VISIBLE_DEVICES: '2,0,9,1',
  };
  expect(steps(['total:0', 'total:1', 'device:2'], env)).toEqual([
    `total:0 -> 0 total ${3 * GIB}`,
    `total:1 -> 0 total ${GIB}`,
    'device:2 -> cudaError',
    '  code 101',
  ]);
});

test('writes a trace of look-ups and calls', () => {
  const trace = join(folder, 'trace');
  steps(['malloc:1'], { FAKE_CUDA_TRACE: trace });
  const lines = readFileSync(trace, 'utf8')
    .split('\n')
    .map((line) => line.replace(/^\d+ /, ''));
  expect(lines).toContain('look-up cuGetProcAddress_v2 "cuMemAllocAsync" 11020 2 -> cuMemAllocAsync_ptsz');
  expect(lines.indexOf('call cuInit')).toBeLessThan(lines.indexOf('call cuMemAlloc_v2'));
  expect(lines).toContain('call cuMemAlloc_v2');
});
