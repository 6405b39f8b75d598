// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { sweep } from '#native/cli/sessions/lifecycle.ts';
import { until } from '#test/until.ts';
import { PROGRAMS, createAccount, ended, fakeSmi, storeOf } from './cli.ts';
import type { Account } from './cli.ts';

const MIB = 2 ** 20;
const USE = join(PROGRAMS, 'vram-use');
const UUIDS = ['GPU-aaaaaaaa-0000-0000-0000-000000000001', 'GPU-bbbbbbbb-0000-0000-0000-000000000002'];

let account: Account;
beforeEach(() => {
  account = createAccount();
  account.env['FAKE_CUDA_DEVICES'] = '2';
  account.env['FAKE_CUDA_UUIDS'] = UUIDS.join(',');
});
afterEach(() => account.remove());

interface Status {
  readonly devices: readonly {
    readonly device: string;
    readonly usedBytes: number;
    readonly freeBytes: number;
    readonly denials: number;
  }[];
  readonly processes: readonly {
    readonly pid: number;
    readonly alive: boolean;
    readonly usedBytes: Readonly<Record<string, number>>;
  }[];
}

const statusOf = (name: string): Status => (JSON.parse(account.vram(['status', name, '--json']).stdout) as [Status])[0];

/** Starts a program that holds its memory until its input ends, and waits until it has it. */
async function hold(args: readonly string[]): Promise<ChildProcess> {
  const child = account.start(args);
  let seen = '';
  child.stdout?.on('data', (data) => (seen += String(data)));
  await until(() => seen.includes('bytes free'), { what: 'the program to have its memory' });
  return child;
}

test('a program lives inside its limit, is told so, and goes on after a refusal', () => {
  const { status, stdout } = account.vram([
    'run',
    '--limit',
    '256MiB',
    '--',
    USE,
    String(200 * MIB),
    String(100 * MIB),
    String(50 * MIB),
  ]);
  expect(stdout).toBe(
    `${200 * MIB} bytes: allocated\n${100 * MIB} bytes: out of memory\n${50 * MIB} bytes: allocated\n${6 * MIB} of ${256 * MIB} bytes free\n`,
  );
  expect(status).toBe(1);
});

test('decimal and binary sizes are not the same', () => {
  const total = (limit: string) => account.vram(['run', '--limit', limit, '--', USE]).stdout;
  expect(total('128MB')).toBe('128000000 of 128000000 bytes free\n');
  expect(total('128MiB')).toBe('134217728 of 134217728 bytes free\n');
});

test('programs of one session share it, the status says who holds what, and a killed one gives it back', async () => {
  account.vram(['allocate', 'team', '--limit', '1GiB']);
  const first = await hold(['attach', 'team', '--', USE, '--hold', String(600 * MIB)]);
  const denied = account.vram(['attach', 'team', '--', USE, String(600 * MIB)]);
  expect(denied.stdout).toBe(`${600 * MIB} bytes: out of memory\n${424 * MIB} of ${1024 * MIB} bytes free\n`);
  expect(statusOf('team')).toMatchObject({
    devices: [{ device: '0', usedBytes: 600 * MIB, freeBytes: 424 * MIB, denials: 1 }],
    processes: expect.arrayContaining([
      expect.objectContaining({ pid: first.pid, alive: true, usedBytes: { 0: 600 * MIB } }),
    ]),
  });
  expect(account.vram(['status', 'team']).stdout).toMatch(/ {2}0 +1GiB +600MiB +424MiB +\S+ +1 +0B\n/);
  expect(account.vram(['metrics']).stdout).toContain(
    `penstock_vram_used_bytes{session="team",device="0",component="vram"} ${600 * MIB}`,
  );
  first.kill('SIGKILL');
  await until(() => statusOf('team').devices[0]?.usedBytes === 0, { what: 'the memory to come back' });
  expect(account.vram(['attach', 'team', '--', USE, String(1024 * MIB)]).status).toBe(0);
});

test('a live slot keeps a session whose program has left it behind', async () => {
  // What was started ends once its child, which nobody waits for, has memory.
  const script = `${USE} --hold 1000 <&3 & read ready`;
  const run = ['run', '--session', 'team', '--limit', '1GiB', '--ttl', '1h', '--', 'sh', '-c', script];
  const child = account.start(run, { stdio: ['pipe', 'pipe', 'inherit', 'pipe'] });
  let seen = '';
  child.stdout?.on('data', (data) => (seen += String(data)));
  await until(() => seen.includes('bytes free'), { what: 'the child to have its memory' });
  child.stdin?.end('ready\n');
  await until(() => child.exitCode !== null, { what: 'what was started to end' });
  const store = storeOf(account);
  const clock = createFakeClock(Date.now());
  for (let day = 0; day < 3; day += 1) {
    await clock.advance(86_400_000);
    store.locked(() => sweep(store, clock));
    expect(store.open('team').control.state).toBe('active');
  }
  expect(statusOf('team').processes).toMatchObject([{ alive: true }]);
  (child.stdio[3] as NodeJS.WritableStream).end();
});

test('a session that is mounted into a container counts there as here', async () => {
  const session = JSON.parse(account.vram(['allocate', 'box', '--limit', '1GiB', '--json']).stdout) as { dir: string };
  const inside = join(account.home, 'inside');
  mkdirSync(inside);
  // A namespace of mounts and one of processes; the path is another one than outside.
  const object = join(inside, 'libpenstock_vram.so');
  const mount = `mount --bind '${session.dir}' '${inside}' && LD_PRELOAD='${object}' exec '${USE}' --hold ${600 * MIB}`;
  const args = [process.geteuid?.() === 0 ? '-mpf' : '-rmpf', 'sh', '-c', mount];
  const container = spawn('unshare', args, { env: account.env, stdio: ['pipe', 'pipe', 'inherit'] });
  const result = ended(container);
  let seen = '';
  container.stdout.on('data', (data) => (seen += String(data)));
  await until(() => seen.includes('bytes free'), { what: 'the program in the container' });
  expect(seen).toContain(`of ${1024 * MIB} bytes free`);
  expect(statusOf('box')).toMatchObject({
    devices: [{ usedBytes: 600 * MIB }],
    processes: [{ pid: 1, alive: true }],
  });
  expect(account.vram(['attach', 'box', '--', USE, String(600 * MIB)]).status).toBe(1);
  expect(account.vram(['release', 'box'])).toMatchObject({ status: 5, stderr: expect.stringContaining('(vram-use)') });
  container.stdin.end();
  expect((await result).status).toBe(0);
  expect(account.vram(['release', 'box']).status).toBe(0);
});

test('GPUs have separate limits, by number and by UUID; one that is not named refuses', () => {
  const both = ['run', '--limit', '0=64MiB', '--limit', `${UUIDS[1]}=128MiB`, '--', USE];
  expect(account.vram([...both, '--device', '0']).stdout).toContain(`of ${64 * MIB} bytes free`);
  expect(account.vram([...both, '--device', '1']).stdout).toContain(`of ${128 * MIB} bytes free`);
  const one = ['run', '--limit', '64MiB', '--device', '1', '--', USE];
  expect(account.vram([...one, '--device', '1', String(60 * MIB)]).status).toBe(0);
  expect(account.vram([...one, '--device', '0', String(MIB)]).stdout).toContain(`${MIB} bytes: out of memory`);
});

test('a limit is one limit on each card, whatever a process sees of them and in which order', async () => {
  fakeSmi(account, [8192, 8192]);
  expect(account.vram(['allocate', 'team', '--limit', '1GiB'])).toMatchObject({ status: 0, stderr: '' });
  const first = await hold(['attach', 'team', '--', USE, '--hold', String(1024 * MIB)]);
  const use = (visible: string, device: string) =>
    account.vram(['attach', 'team', '--', USE, '--device', device, String(1024 * MIB)], {
      CUDA_VISIBLE_DEVICES: visible,
    }).status;
  // The first card, which is full, by each way to it; then the second one, by each.
  expect([use('1,0', '1'), use('0', '0'), use(UUIDS[0]!, '0')]).toEqual([1, 1, 1]);
  expect([use('1,0', '0'), use('1', '0'), use('0,1', '1')]).toEqual([0, 0, 0]);
  expect(statusOf('team').devices).toMatchObject([
    { device: UUIDS[0], usedBytes: 1024 * MIB, denials: 3 },
    { device: UUIDS[1], usedBytes: 0, denials: 0 },
  ]);
  first.stdin?.end();
});

test('a number is that of nvidia-smi, at the start and in every process', () => {
  fakeSmi(account, [8192, 8192], { names: ['Small', 'Big'] });
  const use = (visible: string, device: string) => {
    const args = ['run', '--limit', '1=64MiB', '--', USE, '--device', device, String(64 * MIB)];
    return account.vram(args, { CUDA_VISIBLE_DEVICES: visible });
  };
  expect(use('1', '0')).toMatchObject({ status: 0, stderr: expect.stringContaining('CUDA_DEVICE_ORDER=PCI_BUS_ID') });
  expect([use('1,0', '0').status, use('1,0', '1').status, use('0', '0').status]).toEqual([0, 1, 1]);
});

test('where MIG is on, numbers are those of each process, and a note says so', () => {
  fakeSmi(account, [8192, 8192], { mig: 'Enabled' });
  const { status, stderr } = account.vram(['run', '--limit', '64MiB', '--', USE, '1000'], {
    CUDA_VISIBLE_DEVICES: '1',
  });
  expect([status, stderr]).toEqual([0, expect.stringContaining('numbers that each process gives')]);
});

test('without nvidia-smi a number counts the GPUs that the process sees, a UUID means one GPU', () => {
  const visible = { CUDA_VISIBLE_DEVICES: '1' };
  const by = (device: string) =>
    account.vram(['run', '--limit', '64MiB', '--device', device, '--', USE, '1000'], visible);
  expect(by('0').status).toBe(0);
  expect(by(UUIDS[1]!).status).toBe(0);
  expect(by(UUIDS[0]!).stdout).toContain('out of memory');
});

test('a limit without a device holds for each GPU', () => {
  for (const device of ['0', '1'])
    expect(account.vram(['run', '--limit', '64MiB', '--', USE, '--device', device]).stdout).toContain(
      `of ${64 * MIB} bytes free`,
    );
});

test('children are covered, and share with their parent', async () => {
  const child = await hold([
    'run',
    '--session',
    'family',
    '--limit',
    '100MiB',
    '--',
    'sh',
    '-c',
    `exec 3<&0; ${USE} --hold ${60 * MIB} <&3 & exec ${USE} --hold ${30 * MIB}`,
  ]);
  await until(() => statusOf('family').devices[0]?.usedBytes === 90 * MIB, { what: 'both to have their memory' });
  expect(account.vram(['attach', 'family', '--', USE, String(20 * MIB)]).status).toBe(1);
  child.stdin?.end();
});

test('variables that a program changes change nothing for its slice', () => {
  const script = `unset PENSTOCK_VRAM_STATE_DIR HOME; export PENSTOCK_VRAM_LIMIT=99GiB; exec ${USE}`;
  expect(account.vram(['run', '--limit', '64MiB', '--', 'sh', '-c', script]).stdout).toContain(
    `of ${64 * MIB} bytes free`,
  );
});

test('the total can be that of the card, and managed memory can be left out', () => {
  const { stdout } = account.vram(['run', '--limit', '64MiB', '--report-total', 'physical', '--', USE]);
  expect(stdout).toMatch(/^[0-9]+ of [0-9]+ bytes free\n$/);
  const steps = join(PROGRAMS, 'driver-steps');
  const list = ['dlopen:libcuda.so.1', 'init', 'context:c:0', `managed:m:${100 * MIB}`];
  const managed = (how: string) =>
    account.vram(['run', '--limit', '64MiB', '--managed', how, '--', steps, ...list]).stdout;
  expect(managed('charged')).toContain('= 2');
  expect(managed('uncharged').trimEnd().endsWith('= 0')).toBe(true);
});

test('a closed session lends nothing more, and takes nothing away', async () => {
  account.vram(['allocate', 'team', '--limit', '1GiB']);
  const child = await hold([
    'attach',
    'team',
    '--',
    'sh',
    '-c',
    `${USE} --hold ${100 * MIB}; ${USE} ${100 * MIB}; exit 0`,
  ]);
  let after = '';
  child.stdout?.on('data', (data) => (after += String(data)));
  const result = ended(child);
  expect(account.vram(['release', '--force', 'team']).status).toBe(0);
  expect(statusOf('team').devices[0]).toMatchObject({ usedBytes: 100 * MIB, freeBytes: 0 });
  child.stdin?.end();
  expect((await result).status).toBe(0);
  expect(after).toContain('out of memory');
});
