// SPDX-License-Identifier: Apache-2.0
// `make gpu-test` needs a GPU; that its checks can pass and can fail is tested here, on the fake machine and a stand-in for PyTorch.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { runFake } from './slice.ts';

const script = resolve(import.meta.dirname, '../gpu/main.py');
const standIn = join(import.meta.dirname, 'stand-in');

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'penstock-gpu-test-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const run = (env: Readonly<Record<string, string>>) =>
  runFake('python3', [script], {
    FAKE_CUDA_HEAP: join(folder, 'heap'),
    FAKE_CUDA_CONTEXT: String(300 * 2 ** 20),
    PYTHONPATH: standIn,
    PYTHONDONTWRITEBYTECODE: '1',
    ...env,
  });

test('every check passes on a card that does as it should', () => {
  const { status, stdout, stderr } = run({});
  expect({ status, stderr, failed: stdout.split('\n').filter((line) => line.startsWith('FAIL')) }).toEqual({
    status: 0,
    stderr: '',
    failed: [],
  });
  expect(stdout).toContain('ledger +8192 MiB, NVML per process +8192 MiB');
  expect(stdout.match(/^ok /gm)?.length).toBeGreaterThanOrEqual(15);
});

test('a driver that fails to give memory back fails the checks, and each is told', () => {
  const { status, stdout } = run({ FAKE_CUDA_FAIL: 'cuMemFree_v2:1+:1' });
  expect(status).toBe(1);
  expect(stdout).toMatch(/^FAIL runtime API, mini runtime \(runtime-steps\): AssertionError: free:0 is done/m);
});

test('without a GPU it says so, and fails', () => {
  const { status, stdout, stderr } = run({ FAKE_CUDA_DEVICES: '0' });
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  expect(stderr).toMatch(/^gpu-test: not run: nvmlInit answers 9\. This test needs a machine with an NVIDIA GPU\.\n$/);
});

test('a card that is too full is no failure of the quota: it is told', () => {
  const { status, stderr } = run({ FAKE_CUDA_MEMORY: String(2 ** 31) });
  expect(status).toBe(1);
  expect(stderr).toContain('2048 MiB are free on Penstock fake card 0, 3072 are needed');
});
