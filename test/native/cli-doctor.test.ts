// SPDX-License-Identifier: Apache-2.0
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { inspectPrivilege } from '#native/cli/doctor/binary.ts';
import { until } from '#test/until.ts';
import { CLI, PROGRAMS, ROOT, createAccount, fakeSmi } from './cli.ts';
import type { Account, Result } from './cli.ts';

interface Report {
  readonly covered: 'yes' | 'no' | 'unknown';
  readonly findings: readonly {
    readonly check: string;
    readonly result: string;
    readonly detail: string;
    readonly fix?: string;
  }[];
}

const root = (process.geteuid?.() ?? 0) === 0;
const NOBODY = 65_534;
const VRAM = join(ROOT, 'dist/native/lib/libpenstock_vram.so');
/** A folder of its own mounts, for whoever asks. */
const UNSHARE = root ? ['-m'] : ['-rm'];

let account: Account;
let programs: Record<string, string>;
const started: ChildProcess[] = [];

/** A copy of a dynamic program with some bytes changed. */
function variant(name: string, change: (bytes: Buffer) => void): string {
  const path = join(account.home, name);
  const bytes = readFileSync(realpathSync('/bin/sleep'));
  change(bytes);
  writeFileSync(path, bytes, { mode: 0o755 });
  return path;
}

beforeAll(() => {
  account = createAccount();
  chmodSync(account.home, 0o755);
  const source = join(account.home, 'static.c');
  writeFileSync(source, '#include <unistd.h>\nint main(void) { return sleep(60) != 0; }\n');
  const statically = join(account.home, 'statically');
  const built = spawnSync('gcc', ['-static', '-o', statically, source], { encoding: 'utf8' });
  if (built.status !== 0) throw new Error(`gcc -static: ${built.stderr} (brought by hack/ensure native)`);
  const setuid = variant('setuid', () => {});
  if (root) chownSync(setuid, NOBODY, NOBODY);
  chmodSync(setuid, 0o4755);
  const text = join(account.home, 'text');
  writeFileSync(text, 'not a program\n\0', { mode: 0o755 });
  programs = {
    statically,
    setuid,
    text,
    musl: variant('musl', (bytes) => {
      const at = bytes.indexOf('/lib64/ld-linux-x86-64.so.2');
      bytes.write('/lib/ld-musl-x86_64.so.1\0\0\0', at === -1 ? bytes.indexOf('/lib/ld-linux-aarch64.so.1') : at);
    }),
    other: variant('other', (bytes) => bytes.writeUInt16LE(243, 18)),
    narrow: variant('narrow', (bytes) => {
      bytes[4] = 1;
      bytes.writeUInt16LE(3, 18);
    }),
    broken: variant('broken', (bytes) => bytes.writeBigUInt64LE(2n ** 62n, 32)),
    script: account.script('script', '#!/usr/bin/env sh\n:\n'),
    odd: account.script('odd', `#!${statically}\n`),
  };
});
afterAll(() => {
  for (const child of started) child.kill('SIGKILL');
  account.remove();
});

const report = (result: Result): Report => JSON.parse(result.stdout) as Report;
const doctor = (...command: string[]): Report => report(account.vram(['doctor', '--json', '--', ...command]));
const wrong = ({ findings }: Report): string[] =>
  findings.filter(({ result }) => result === 'bad').map(({ check }) => check);

test('the installation is sound, and an ordinary program would be covered', () => {
  expect(account.vram(['doctor'])).toMatchObject({ status: 0, stdout: expect.stringContaining('covered') });
  fakeSmi(account, [8192]);
  expect(account.vram(['doctor']).stdout).toContain('GPU 0: Test, 8GiB');
  expect(account.vram(['doctor', '--', 'sleep', '1'])).toMatchObject({
    status: 0,
    stdout: expect.stringMatching(/^sleep 1: covered\n/),
  });
  expect(doctor(join(PROGRAMS, 'vram-use')).covered).toBe('yes');
  expect(doctor(programs['script']!).covered).toBe('yes');
  expect(doctor('env', 'A=1', 'nohup', 'sleep', '1').covered).toBe('yes');
});

test.each([
  ['statically', ['static']],
  ['musl', ['musl']],
  ['other', ['architecture']],
  ['narrow', ['architecture']],
  ['text', ['format']],
  ['odd', ['static']],
  ['broken', ['static']],
])('a program that is %s would not be covered: %j', (name, checks) => {
  const found = doctor(programs[name]!);
  expect([found.covered, wrong(found)]).toEqual(['no', checks]);
  expect(found.findings.find(({ result }) => result === 'bad')?.fix).toBeTruthy();
});

test.each([
  [['env', '-i', 'sleep', '1'], 'environment'],
  [['env', '-u', 'LD_PRELOAD', 'sleep', '1'], 'environment'],
  [['env', '-u', 'HOME', '-', 'sleep', '1'], 'environment'],
  [['env', 'LD_PRELOAD=x', 'sleep', '1'], 'environment'],
  [['nohup', 'env', '--ignore-environment', 'sleep', '1'], 'environment'],
  [['docker', 'run', 'image'], 'launcher'],
  [['sudo', 'sleep', '1'], 'launcher'],
  [['no-such-program'], 'program'],
])('%j would not be covered: %s', (command, check) => {
  for (const name of ['docker', 'sudo']) account.script(name, '#!/bin/sh\n');
  expect(wrong(doctor(...command))).toEqual([check]);
  expect(account.vram(['doctor', '--', ...command]).status).toBe(1);
});

test('a program with more rights than its caller would not be covered', () => {
  // Root is another user to a program of nobody's; to anybody else a program of root's is there on every machine.
  const path = root ? programs['setuid']! : realpathSync('/usr/bin/passwd');
  expect(wrong(doctor(path))).toEqual(['setuid']);
  expect(doctor(programs['setuid']!).covered).toBe(root ? 'no' : 'yes');
});

test('file capabilities are found, or it is said that they cannot be', () => {
  const capable = variant('capable', () => {});
  const PATH = `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`;
  const set = spawnSync('setcap', ['cap_net_raw+ep', capable], { env: { PATH } });
  const results = (path: string, searched: string): string[] =>
    inspectPrivilege(path, { uid: NOBODY, gids: [NOBODY], path: searched }).map(
      ({ check, result }) => `${check} ${result}`,
    );
  // Who may not set any has none to find; without the tools (one package) nobody can tell.
  const none = set.error === undefined ? 'ok' : 'unknown';
  expect(results(capable, PATH)).toEqual(['setuid ok', `capabilities ${set.status === 0 ? 'bad' : none}`]);
  expect(results(programs['musl']!, PATH)).toEqual(['setuid ok', `capabilities ${none}`]);
});

test('an installation without objects, or with a stranger’s, covers nothing', () => {
  const empty = mkdtempSync(join(account.home, 'empty-'));
  expect(wrong(report(account.vram(['doctor', '--json', '--lib-dir', empty])))).toEqual(['objects']);
  for (const name of ['libpenstock_vram.so', 'libpenstock_nvml.so'])
    copyFileSync(programs['other']!, join(empty, name));
  expect(wrong(report(account.vram(['doctor', '--json', '--lib-dir', empty])))).toEqual(['objects']);
});

test('a folder on a noexec mount is found, before and after', () => {
  const dir = join(account.home, 'noexec');
  mkdirSync(dir);
  const inside = (command: string): Result => {
    const script = `mount -t tmpfs -o noexec,mode=700 tmpfs '${dir}' && ${command}`;
    const run = spawnSync('unshare', [...UNSHARE, 'sh', '-c', script], { env: account.env, encoding: 'utf8' });
    return { ...run };
  };
  expect(wrong(report(inside(`'${CLI}' doctor --json --state-dir '${dir}/state' -- sleep 1`)))).toEqual(['noexec']);
  expect(inside(`'${CLI}' run --state-dir '${dir}/state' --limit 1GiB -- true`)).toMatchObject({
    status: 125,
    stderr: expect.stringContaining('noexec'),
  });
  const started = `cp '${VRAM}' '${dir}' && LD_PRELOAD='${dir}/libpenstock_vram.so' sleep 60 2>/dev/null & sleeper=$!; while [ "$(cat /proc/$sleeper/comm)" != sleep ]; do :; done`;
  expect(wrong(report(inside(`{ ${started}; '${CLI}' doctor --json $sleeper; kill $sleeper; }`)))).toEqual(['noexec']);
});

test('a folder in which no session can be made is found: on a read-only mount, there or not yet', () => {
  const dir = join(account.home, 'read-only');
  mkdirSync(dir);
  for (const state of [dir, `${dir}/not/there/yet`]) {
    const script = `mount -t tmpfs -o ro,mode=700 tmpfs '${dir}' && '${CLI}' doctor --json --state-dir '${state}' -- sleep 1`;
    const run = spawnSync('unshare', [...UNSHARE, 'sh', '-c', script], { env: account.env, encoding: 'utf8' });
    expect(wrong(report(run))).toEqual(['state-dir']);
    expect(run.status).toBe(1);
    expect(report(run).findings.find(({ check }) => check === 'state-dir')).toMatchObject({
      detail: expect.stringContaining('read-only'),
      fix: expect.stringContaining('--state-dir'),
    });
  }
});

/** Starts a program and waits until it is itself, and no longer what starts it. */
async function start(command: readonly string[], env: Record<string, string> = {}): Promise<number> {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { env: { ...account.env, ...env }, stdio: 'ignore' });
  started.push(child);
  const comm = () => readFileSync(`/proc/${child.pid}/comm`, 'utf8').trim();
  await until(() => ['sleep', 'setuid', 'statically'].includes(comm()), { what: `${program} to be started` });
  return child.pid ?? 0;
}

const ofPid = (pid: number): Report => report(account.vram(['doctor', '--json', String(pid)]));

test('a process inside a session is covered, and every other one is not, with the reason', async () => {
  const inside = await start([CLI, 'run', '--limit', '1GiB', '--', 'sleep', '60']);
  expect(ofPid(inside)).toMatchObject({ covered: 'yes' });
  expect(account.vram(['doctor', String(inside)]).stdout).toContain(`process ${inside}: covered`);
  expect(wrong(ofPid(await start(['sleep', '60'])))).toEqual(['environment']);
  expect(wrong(ofPid(await start([CLI, 'run', '--limit', '1GiB', '--', 'env', '-i', '/bin/sleep', '60'])))).toEqual([
    'environment',
  ]);
  expect(wrong(ofPid(await start([CLI, 'run', '--limit', '1GiB', '--', programs['statically']!])))).toEqual(['static']);
  expect(wrong(ofPid(await start(['sleep', '60'], { LD_PRELOAD: '/gone/sessions/x/libpenstock_vram.so' })))).toEqual([
    'preload',
  ]);
  // The object without a region beside it: no quota, everything passes.
  expect(wrong(ofPid(await start(['sleep', '60'], { LD_PRELOAD: VRAM })))).toEqual(['region']);
});

test('a process of a session that was taken away is told', async () => {
  const pid = await start([CLI, 'run', '--session', 'gone', '--limit', '1GiB', '--', 'sleep', '60']);
  rmSync(join(account.stateDir, 'sessions/gone'), { recursive: true });
  expect(wrong(ofPid(pid))).toEqual(['region']);
});

test('a process with more rights than its caller is told', async () => {
  const pid = await start([CLI, 'run', '--limit', '1GiB', '--', programs['setuid']!, '60']);
  expect(ofPid(pid).covered).toBe(root ? 'no' : 'yes');
  expect(wrong(ofPid(pid))).toEqual(root ? ['setuid'] : []);
});

test('of a process that cannot be looked into nothing is told, and the exit status is not 0', () => {
  // As root: another user asks about a process of root's. Anybody else asks about the first process.
  const child = join(import.meta.dirname, 'cli-other-user.child.ts');
  const run = spawnSync(process.execPath, [child, '--doctor', String(NOBODY), String(root ? process.pid : 1)], {
    encoding: 'utf8',
  });
  expect(run.stderr).toBe('');
  expect(run.stdout).toMatch(/^process [0-9]+: cannot be told\n[^]*\nexit 1$/);
});

test.each([['musl'], ['sudo', 'true'], ['env', '-i', '/bin/true']])(
  'a program that runs without the limit is started with a warning: %s',
  (name, ...args) => {
    account.script('sudo', '#!/bin/sh\n');
    const run = account.vram(['run', '--limit', '1GiB', '--', programs[name] ?? name, ...args]);
    expect(run.stderr).toContain('the limit will not hold');
  },
);

test('a program that is covered is started without a warning', () => {
  const run = account.vram(['run', '--limit', '1GiB', '--', 'sh', '-c', 'exit 3']);
  expect([run.status, run.stderr.includes('will not hold')]).toEqual([3, false]);
});

test('a process that is not there, and words that are no process', () => {
  expect(account.vram(['doctor', '4194305']).status).toBe(3);
  expect(account.vram(['doctor', '--frob']).status).toBe(2);
  for (const word of ['0', '007', '99999999999']) expect(account.vram(['doctor', word]).status).toBe(2);
});
