// SPDX-License-Identifier: Apache-2.0
// Who looks at a session may be in another PID namespace (a container that the folder is mounted into) and see none of its processes:
// what he does must not take the session from them, and with it their limit.
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, readFileSync, readdirSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Clock } from '#base/clock.ts';
import { createFakeClock } from '#base/fake-clock.ts';
import { createProcesses } from '#native/cli/processes.ts';
import { release, sweep } from '#native/cli/sessions/lifecycle.ts';
import { SessionStore } from '#native/cli/sessions/store.ts';
import { until } from '#test/until.ts';
import { CLI, PROGRAMS, contextOf, createAccount, ended, storeOf } from './cli.ts';
import type { Account, Result } from './cli.ts';

const USE = join(PROGRAMS, 'vram-use');
const asRoot = process.getuid?.() === 0;
const UNSHARE = [asRoot ? '-pf' : '-Urpf', '--mount-proc', '--kill-child'];
const SESSION = ['--limit', '1GiB', '--overcommit'];

let account: Account;
beforeEach(() => {
  account = createAccount();
});
afterEach(() => account.remove());

/** penstock-vram in a PID namespace of its own. */
function apart(...args: string[]): Result {
  const run = spawnSync('unshare', [...UNSHARE, CLI, ...args], {
    env: account.env,
    cwd: account.home,
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (run.error !== undefined || /^unshare: /m.test(run.stderr))
    throw new Error(
      `no PID namespace: ${run.error?.message ?? run.stderr}; apt-get install -y util-linux, and as a user sysctl -w kernel.unprivileged_userns_clone=1`,
    );
  return { status: run.status, signal: run.signal, stdout: run.stdout, stderr: run.stderr };
}

/** A program that takes five gigabytes, and then a megabyte, when it is told to. */
async function waiting(...args: string[]): Promise<{ readonly child: ChildProcess; go(): Promise<string> }> {
  const child = account.start([...args, '--', 'sh', '-c', `echo ready; read x; exec '${USE}' 5000000000 1000000`]);
  let seen = '';
  child.stdout?.on('data', (data) => (seen += String(data)));
  const result = ended(child);
  await until(() => seen.includes('ready'), { what: 'the program' });
  return {
    child,
    go: async () => {
      child.stdin?.end('x\n');
      const { stdout, stderr } = await result;
      return stdout + stderr;
    },
  };
}

const WITHIN = 'ready\n5000000000 bytes: out of memory\n1000000 bytes: allocated\n';

describe('a program that has touched no GPU yet keeps its session and its limit', () => {
  test.each([
    ['sessions'],
    ['status'],
    ['metrics'],
    ['release', '--all'],
    ['allocate', ...SESSION, 'other'],
    ['run', ...SESSION, '--', 'true'],
  ])('whoever says %s in another PID namespace', async (...command) => {
    const program = await waiting('run', ...SESSION);
    for (let look = 0; look < 2; look += 1) apart(...command);
    expect(await program.go()).toContain(WITHIN);
    expect(account.vram(['sessions', '--json']).stdout).not.toContain('"ephemeral":true');
  });

  test('in a session with a name, which is refused to be released, and only closed by force', async () => {
    const program = await waiting('run', ...SESSION, '--session', 'job', '--ttl', '1s');
    expect(apart('release', 'job')).toMatchObject({
      status: 5,
      stderr: expect.stringContaining('in use by a program that cannot be seen from here'),
    });
    expect(apart('release', '--force', 'job')).toMatchObject({
      status: 0,
      stdout: 'job: closed; goes with its last process\n',
    });
    expect(apart('allocate', ...SESSION, 'job')).toMatchObject({ status: 6 });
    expect(await program.go()).toContain('5000000000 bytes: out of memory\n');
  });

  test('also where it is the one that lives in the namespace, until it ends', async () => {
    account.vram(['allocate', ...SESSION, 'job']);
    const command = [CLI, 'attach', 'job', '--', 'sh', '-c', 'echo ready; read x'];
    const child = spawn('unshare', [...UNSHARE, ...command], { env: account.env, cwd: account.home });
    let seen = '';
    child.stdout.on('data', (data) => (seen += String(data)));
    const result = ended(child);
    await until(() => seen.includes('ready'), { what: 'the program' });
    expect([account.vram(['release', 'job']).status, apart('release', 'job').status]).toEqual([5, 5]);
    child.stdin.end();
    await result;
    // Whoever sees all processes knows at once that it has gone.
    const seesAll = readlinkSync('/proc/self/ns/pid') === 'pid:[4026531836]';
    expect(account.vram(['release', 'job']).status).toBe(seesAll ? 0 : 5);
  });
});

describe('of what cannot be seen', () => {
  const MINUTE = 60_000;

  /** The sessions as a process of a namespace without any other process in it sees them. */
  function blind(clock: Clock): SessionStore {
    const proc = join(account.home, 'proc');
    mkdirSync(join(proc, 'self/ns'), { recursive: true });
    mkdirSync(join(proc, 'sys/kernel/random'), { recursive: true });
    symlinkSync('pid:[1]', join(proc, 'self/ns/pid'));
    writeFileSync(join(proc, 'sys/kernel/random/boot_id'), readFileSync('/proc/sys/kernel/random/boot_id'));
    return new SessionStore(account.stateDir, { ...contextOf(), clock, processes: createProcesses(proc) });
  }

  test('what has kept a descriptor lives for days, be it a child that outlived what was started', async () => {
    account.vram(['allocate', ...SESSION, '--ttl', '1s', 'job']);
    const { stdout } = account.vram(['attach', 'job', '--', 'sh', '-c', 'sleep 600 >/dev/null 2>&1 & echo $!']);
    const clock = createFakeClock(Date.now());
    const store = blind(clock);
    const look = async (ms: number): Promise<string> => {
      await clock.advance(ms);
      store.locked(() => sweep(store, clock));
      return store.exists('job') ? store.open('job').control.state : 'gone';
    };
    for (let day = 0; day < 3; day += 1) expect(await look(1440 * MINUTE)).toBe('active');
    expect(() => release(store, contextOf().processes, 'job', false)).toThrow('cannot be seen from here');
    process.kill(Number(stdout), 'SIGKILL');
    await until(async () => (await look(MINUTE)) === 'expired', { what: 'the session to expire with the child' });
  });

  test('what has closed its descriptors counts as living for ten minutes, and no longer', async () => {
    const program = account.start([
      'run',
      ...SESSION,
      '--',
      'bash',
      '-c',
      'for fd in /proc/self/fd/*; do fd=${fd##*/}; [ "$fd" -lt 3 ] || eval "exec $fd<&-"; done; echo ready; read x',
    ]);
    let seen = '';
    program.stdout?.on('data', (data) => (seen += String(data)));
    await until(() => seen.includes('ready'), { what: 'the program' });
    const clock = createFakeClock(Date.now());
    const store = blind(clock);
    store.locked(() => sweep(store, clock));
    expect(store.names()).toHaveLength(1);
    await clock.advance(9 * MINUTE);
    store.locked(() => sweep(store, clock));
    expect(store.names()).toHaveLength(1);
    await clock.advance(2 * MINUTE);
    // Who sees the process knows better.
    const seeing = storeOf(account);
    seeing.locked(() => sweep(seeing, clock));
    expect(store.names()).toHaveLength(1);
    store.locked(() => sweep(store, clock));
    expect(store.names()).toEqual([]);
  });

  test('what lived before the last boot lives no more', () => {
    account.vram(['allocate', ...SESSION, 'job']);
    const seeing = storeOf(account);
    const { record } = seeing.open('job');
    const id = contextOf().processes.identify(process.pid);
    if (id === undefined) throw new Error('no /proc: mount -t proc proc /proc');
    const run = { ...id, namespace: '2', sinceMs: Date.now() };
    seeing.locked(() => seeing.replaceRecord({ ...record, runs: [run] }));
    const store = blind(createFakeClock(run.sinceMs));
    expect(store.livingRuns(store.open('job'))).toEqual([run]);
    const boot = '00000000-0000-4000-8000-000000000000';
    seeing.locked(() => seeing.replaceRecord({ ...record, runs: [{ ...run, boot }] }));
    expect(store.livingRuns(store.open('job'))).toEqual([]);
  });
});

test('a session that is taken away before the program starts is said, and nothing is started', () => {
  account.vram(['allocate', ...SESSION, 'job']);
  const mkfifo = account.script('mkfifo', '#!/bin/sh\nrm -r "${4%/alive}"; exit 1\n');
  const refused = account.vram(['attach', 'job', '--', 'echo', 'started']);
  expect(refused).toMatchObject({ status: 125, stdout: '', stderr: expect.stringContaining('sessions/job/alive') });
  rmSync(mkfifo);
  account.vram(['allocate', ...SESSION, 'job']);
  expect(account.vram(['attach', 'job', '--', 'echo', 'started']).stdout).toBe('started\n');
  expect(readdirSync(join(account.stateDir, 'sessions/job'))).toContain('alive');
});
