// SPDX-License-Identifier: Apache-2.0
// NVML inside a slice: what nvidia-smi, PyTorch and vLLM read there agrees with what the driver would grant.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { until } from '#test/until.ts';
import { createSlice, fakeEnvironment, PROGRAMS, runFake } from './slice.ts';
import type { Slice } from './slice.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const CARD = 16 * GIB;
const SECOND = 'GPU-70656e73-746f-636b-2d66-616b652d0001';
const view = join(PROGRAMS, 'nvml-view');

let slice: Slice;
let env: Record<string, string>;
const others: ChildProcess[] = [];
beforeEach(() => {
  slice = createSlice({ limits: { 0: 4 * GIB } });
  env = { FAKE_CUDA_HEAP: join(slice.folder, 'heap') };
});
afterEach(async () => {
  for (const other of others.splice(0)) {
    if (other.exitCode !== null || other.signalCode !== null) continue;
    const gone = new Promise((resolve) => other.once('exit', resolve));
    other.kill('SIGKILL');
    await gone;
  }
  slice.remove();
});

/** Values by the first word of their line. */
function parse(stdout: string): Map<string, string> {
  const lines = stdout.trimEnd().split('\n');
  return new Map(lines.map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]));
}
function look(
  args: readonly string[] = [],
  more: Readonly<Record<string, string>> = {},
  where = slice,
): Map<string, string> {
  const run = where.run(view, args, { ...env, ...more });
  expect(run).toMatchObject({ status: 0, stderr: '' });
  return parse(run.stdout);
}
/** A process that holds memory until it is killed: `preload` says whose. */
async function holder(bytes: number, preload: string): Promise<number> {
  const child = spawn(view, [`allocate:${bytes}`, 'wait'], {
    env: fakeEnvironment({ ...env, LD_PRELOAD: preload }),
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  others.push(child);
  let said = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (said += text));
  await until(() => said.includes('ready'), { what: 'the holder' });
  expect(said).toContain('allocate 0');
  return child.pid ?? 0;
}

test('memory is the slice: in all versions, of this process and of the others in the session', async () => {
  await holder(GIB, `${slice.vram}:${slice.nvml}`);
  const seen = look([`allocate:${512 * MIB}`]);
  const [total, free, used] = [4 * GIB, 2.5 * GIB, 1.5 * GIB];
  expect(seen.get('allocate')).toBe('0');
  expect(seen.get('memory')).toBe(`${total} ${free} ${used}`);
  expect(seen.get('memory2')).toBe(`${total} 0 ${free} ${used}`);
  expect(seen.get('bar1')).toBe(`${total} ${total} 0`);
  expect(seen.get('attributes')).toBe('4096');
});

test('a card that others fill leaves less than the slice', async () => {
  await holder(14 * GIB, '');
  expect(look().get('memory')).toBe(`${4 * GIB} ${2 * GIB} ${2 * GIB}`);
});

test('lists of processes show those of the session and no stranger, whichever version asks', async () => {
  const stranger = await holder(GIB, '');
  const friend = await holder(256 * MIB, `${slice.vram}:${slice.nvml}`);
  const run = slice.run(view, [`allocate:${MIB}`], env);
  const lines = run.stdout.split('\n').filter((line) => /^(processes|details|utilization)/.test(line));
  expect(lines).toHaveLength(5);
  for (const line of lines) {
    expect(line).toMatch(/^\w+ 2 /);
    expect(line).toContain(String(friend));
    expect(line).not.toContain(String(stranger));
  }
  // Not accounted here, and for a stranger nobody even asks: NVML_ERROR_NOT_FOUND.
  expect(parse(run.stdout).get('accounting')).toBe('3 6');
  const bare = parse(runFake(view, [], env).stdout);
  expect(bare.get('details')).toMatch(/^2 /);
});

test('a card is found by its UUID, whatever its number; cards that the session does not list show nothing free', () => {
  const both = createSlice({ limits: { [SECOND]: GIB } });
  const two = { FAKE_CUDA_DEVICES: '2' };
  try {
    expect(look([`device:${SECOND}`], two, both).get('memory')).toBe(`${GIB} ${GIB} 0`);
    expect(look([], two, both).get('memory')).toBe(`${CARD} 0 ${CARD}`);
    expect(look([`device:${SECOND}`], { ...two, CUDA_VISIBLE_DEVICES: '1' }, both).get('memory')).toBe(
      `${GIB} ${GIB} 0`,
    );
  } finally {
    both.remove();
  }
});

test('a slice by number follows CUDA_VISIBLE_DEVICES: number 0 is the first card that CUDA shows', () => {
  const two = { FAKE_CUDA_DEVICES: '2', CUDA_VISIBLE_DEVICES: '1' };
  expect(look([`device:${SECOND}`], two).get('memory')).toBe(`${4 * GIB} ${4 * GIB} 0`);
  expect(look([], two).get('memory')).toBe(`${CARD} 0 ${CARD}`);
  expect(look([`device:${SECOND}`], { ...two, CUDA_VISIBLE_DEVICES: SECOND }).get('memory')).toBe(
    `${4 * GIB} ${4 * GIB} 0`,
  );
});

test('a slice by number is of the card that CUDA counts so, once the program has started CUDA', () => {
  const two = { FAKE_CUDA_DEVICES: '2', FAKE_CUDA_REVERSED: '1' };
  const [total, free] = [4 * GIB, 4 * GIB - MIB];
  expect(look([`allocate:${MIB}`, `device:${SECOND}`], two).get('memory')).toBe(`${total} ${free} ${MIB}`);
  expect(look([`allocate:${MIB}`], two).get('memory')).toBe(`${CARD} 0 ${CARD}`);
  expect(look([`allocate:${MIB}`], { ...two, CUDA_VISIBLE_DEVICES: '1' }).get('memory')).toBe(
    `${total} ${free} ${MIB}`,
  );
});

test('the physical size is told where the session says so; free stays what is left of the slice', () => {
  const physical = createSlice({ limits: { 0: 4 * GIB }, report: 'physical' });
  try {
    expect(look([], {}, physical).get('memory')).toBe(`${CARD} ${4 * GIB} ${CARD - 4 * GIB}`);
  } finally {
    physical.remove();
  }
});

test('without a region every answer is the library’s own', () => {
  const open = createSlice({});
  try {
    const bare = runFake(view, [], env);
    expect(parse(bare.stdout).get('memory')).toBe(`${CARD} ${CARD} 0`);
    expect(open.run(view, [], env)).toEqual(bare);
  } finally {
    open.remove();
  }
});

test('a region that cannot be used leaves nothing free', () => {
  writeFileSync(join(slice.folder, 'control'), 'garbage');
  const run = slice.run(view, [], env);
  expect(parse(run.stdout).get('memory')).toBe(`${CARD} 0 ${CARD}`);
});

test('what it does not cut goes through: errors, results, and functions that the real library lacks', () => {
  expect(look().get('temperature')).toBe('3');
  const broken = look([], { FAKE_NVML_FAIL: 'nvmlDeviceGetMemoryInfo' });
  expect(broken.get('memory')).toBe('0 0 0');
});

test('where there is no NVML at all its error is told, as in words', () => {
  const run = slice.run(view, [], { LD_LIBRARY_PATH: slice.folder });
  expect(run).toMatchObject({ status: 0, stderr: '', stdout: 'init 12 NVML Shared Library Not Found\n' });
});

test('the ledger file may be gone: nobody is in the session then, and nothing crashes', () => {
  rmSync(join(slice.folder, 'ledger'));
  const run = slice.run(view, [], env);
  expect(run.status).toBe(0);
  expect(parse(run.stdout).get('details')).toBe('0');
});
