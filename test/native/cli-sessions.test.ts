// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createFakeClock } from '#base/fake-clock.ts';
import { DEVICE_STATS, HEADER, UNACCOUNTED, UNACCOUNTED_ENTRY } from '#native/layout.ts';
import { sweep } from '#native/cli/sessions/lifecycle.ts';
import { withLock } from '#native/cli/sessions/lock.ts';
import { until } from '#test/until.ts';
import { allocate as allocateCommand } from '#native/cli/commands/allocate.ts';
import { attach } from '#native/cli/commands/attach.ts';
import { metrics } from '#native/cli/commands/metrics.ts';
import { release } from '#native/cli/commands/release.ts';
import { status } from '#native/cli/commands/status.ts';
import { ROOT, call, createAccount, ended, fakeSmi, storeOf } from './cli.ts';
import type { Account, Result } from './cli.ts';

let account: Account;
beforeEach(() => {
  account = createAccount();
});
afterEach(() => account.remove());

interface SessionJson {
  readonly name: string;
  readonly state: string;
  readonly expires: string | null;
  readonly ttlSeconds: number;
}

const uid = process.geteuid?.() ?? 0;
const list = (): SessionJson[] => JSON.parse(account.vram(['sessions', '--json']).stdout) as SessionJson[];
const allocate = (name: string, ...more: string[]): Result =>
  account.vram(['allocate', name, '--limit', '1GiB', ...more]);
/** The same without a process of its own, where the command line is not what is tested. */
const make = async (name: string, ...more: string[]): Promise<void> =>
  expect(await call(account, allocateCommand, [name, '--limit', '1GiB', ...more])).toMatchObject({ code: 'done' });
const dirOf = (name: string): string => join(account.stateDir, 'sessions', name);
const errorCode = ({ stderr }: Result): string => (JSON.parse(stderr) as { error: { code: string } }).error.code;

test('a session is made, listed, joined, shown and released', async () => {
  expect(allocate('team', '--ttl', '2h')).toMatchObject({ status: 0, stdout: 'team\n' });
  expect(list()).toMatchObject([{ name: 'team', state: 'active', ttlSeconds: 7200 }]);
  expect(account.vram(['sessions']).stdout).toMatch(
    /^NAME +STATE +LIMIT +PROCESSES +EXPIRES\nteam +active +1GiB +0 +in (?:2h|1h 59m)\n$/,
  );
  const child = account.start(['attach', 'team', '--', 'sh', '-c', 'echo ready; read x']);
  const result = ended(child);
  await until(() => list()[0]?.expires === null, { what: 'the session to be in use' });
  expect(account.vram(['status', 'team']).stdout).toContain('session team: active, in use');
  expect(account.vram(['release', 'team'])).toMatchObject({
    status: 5,
    stderr: expect.stringContaining(`process ${child.pid} (sh)`),
  });
  child.stdin?.end('x\n');
  expect((await result).status).toBe(0);
  expect(account.vram(['release', 'team'])).toMatchObject({ status: 0, stdout: 'team: released\n' });
  expect(list()).toEqual([]);
  expect(account.vram(['release', 'team']).status).toBe(3);
});

test('the same session is allocated twice without harm, another limit under its name is refused', async () => {
  await make('team');
  expect(JSON.parse(allocate('team', '--json').stdout)).toMatchObject({ name: 'team', created: false });
  expect(account.vram(['allocate', 'team', '--limit', '2GiB'])).toMatchObject({
    status: 4,
    stderr: expect.stringContaining('attach team'),
  });
  expect(account.vram(['run', '--session', 'team', '--limit', '1024MiB', '--', 'true']).status).toBe(0);
  expect(account.vram(['run', '--session', 'team', '--', 'true']).status).toBe(0);
});

test('everything is the user’s own: folders 0700, files 0600', async () => {
  await make('team');
  const modes = (dir: string): string[] =>
    readdirSync(dir).flatMap((name) => {
      const path = join(dir, name);
      const stat = lstatSync(path);
      const mode = `${stat.isDirectory() ? 'd' : '-'}${(stat.mode & 0o777).toString(8)}`;
      return stat.isDirectory() ? [mode, ...modes(path)] : [mode];
    });
  expect(new Set(modes(account.stateDir))).toEqual(new Set(['d700', '-600']));
  expect(lstatSync(account.stateDir).mode & 0o777).toBe(0o700);
});

test.each([
  [
    'the state folder is a link',
    () => {
      renameSync(account.stateDir, `${account.stateDir}.real`);
      symlinkSync(`${account.stateDir}.real`, account.stateDir);
    },
  ],
  ['the state folder is open to others', () => chmodSync(account.stateDir, 0o755)],
  [
    'the session is a link',
    () => {
      renameSync(dirOf('team'), join(account.home, 'elsewhere'));
      symlinkSync(join(account.home, 'elsewhere'), dirOf('team'));
    },
  ],
  ['the session is open to the group', () => chmodSync(dirOf('team'), 0o770)],
  [
    'the control page is a link',
    () => {
      renameSync(join(dirOf('team'), 'control'), join(account.home, 'control'));
      symlinkSync(join(account.home, 'control'), join(dirOf('team'), 'control'));
    },
  ],
  ['the record is open to others', () => chmodSync(join(dirOf('team'), 'session.json'), 0o644)],
  [
    'the record is a pipe',
    () => {
      rmSync(join(dirOf('team'), 'session.json'));
      spawnSync('mkfifo', ['-m', '600', join(dirOf('team'), 'session.json')]);
    },
  ],
])(
  'a session is not opened when %s; by force goes what lies in the private folder, and nothing else',
  async (what, change) => {
    await make('team');
    await make('whole');
    change();
    const folder = what.startsWith('the state folder');
    expect(await call(account, attach, ['team', '--', 'true'])).toMatchObject({ code: 'not-private' });
    expect(await call(account, release, ['--all'])).toMatchObject({ code: 'not-private' });
    expect(folder ? ['team'] : storeOf(account).names()).toEqual(['team']);
    const outside = () => ['elsewhere/control', 'control'].map((path) => existsSync(join(account.home, path)));
    const before = outside();
    expect(await call(account, release, ['team', '--force'])).toMatchObject({ code: folder ? 'not-private' : 'done' });
    expect(outside()).toEqual(before);
  },
);

test('a folder of another user is refused, whoever asks', async () => {
  await make('team');
  // Root may open everything, and must refuse none the less; anybody else finds folders of root's everywhere.
  const foreign = uid === 0 ? account.stateDir : '/usr';
  if (uid === 0) chownSync(foreign, 65_534, 65_534);
  const result = account.vram(['sessions', '--state-dir', foreign, '--json']);
  expect([result.status, errorCode(result)]).toEqual([8, 'not-private']);
});

test('another user cannot open, release or see a session, whatever the command', async () => {
  await make('team');
  // As root there is another user to become; anybody else is another user to root.
  const folder = uid === 0 ? account.stateDir : '/root';
  const attempt = (): string[] => {
    const child = join(import.meta.dirname, 'cli-other-user.child.ts');
    const run = spawnSync(process.execPath, [child, folder, '65534'], { encoding: 'utf8' });
    expect(run.stderr).toBe('');
    return JSON.parse(run.stdout) as string[];
  };
  // The way there is closed; and where it is open, the folder itself is, and says whose it is.
  expect(attempt()).toEqual(Array.from({ length: 5 }, () => (uid === 0 ? 'storage' : 'not-private')));
  chmodSync(account.home, 0o755);
  expect(attempt()).toEqual(Array.from({ length: 5 }, () => 'not-private'));
  expect(list()).toMatchObject([{ name: 'team', state: 'active' }]);
});

test('time runs only while no process lives: a job never expires, an idle session does', async () => {
  await make('job', '--ttl', '60s');
  const clock = createFakeClock(Date.now());
  const store = storeOf(account);
  const look = async (seconds: number): Promise<string> => {
    await clock.advance(seconds * 1000);
    store.locked(() => sweep(store, clock));
    return store.exists('job') ? store.open('job').control.state : 'gone';
  };
  const child = account.start(['attach', 'job', '--', 'sh', '-c', 'echo ready; read x']);
  const result = ended(child);
  await until(() => store.open('job').record.runs.length === 1, { what: 'the job' });
  for (let day = 0; day < 3; day += 1) expect(await look(86_400)).toBe('active');
  child.stdin?.end();
  await result;
  // Found idle now: the whole time is left.
  expect(await look(0)).toBe('active');
  expect(await look(59)).toBe('active');
  expect(await look(2)).toBe('expired');
  expect(await look(6 * 86_400)).toBe('expired');
  expect(await look(86_400)).toBe('gone');
});

test('a child that outlives what was started keeps the session, also before it touches a GPU', async () => {
  await make('job', '--ttl', '1h');
  const { stdout } = account.vram(['attach', 'job', '--', 'sh', '-c', 'sleep 600 >/dev/null 2>&1 & echo $!']);
  const clock = createFakeClock(Date.now());
  const store = storeOf(account);
  for (let day = 0; day < 3; day += 1) {
    await clock.advance(86_400_000);
    store.locked(() => sweep(store, clock));
    expect(store.open('job').control.state).toBe('active');
  }
  process.kill(Number(stdout), 'SIGKILL');
  const later = async (): Promise<boolean> => {
    await clock.advance(86_400_000);
    store.locked(() => sweep(store, clock));
    return store.open('job').control.state === 'expired';
  };
  await until(later, { what: 'the session to expire when the child is gone' });
});

test('a clock that was set back does not keep a session', async () => {
  await make('job', '--ttl', '60s');
  const clock = createFakeClock(Date.now() - 1_000_000_000);
  const store = storeOf(account);
  store.locked(() => sweep(store, clock));
  await clock.advance(61_000);
  store.locked(() => sweep(store, clock));
  expect(store.open('job').control.state).toBe('expired');
});

test('an expired session is made anew by the same command', async () => {
  await make('job', '--ttl', '1s');
  await until(() => list()[0]?.state === 'expired', { what: 'the session to expire' });
  expect(account.vram(['attach', 'job', '--', 'true'])).toMatchObject({
    status: 125,
    stderr: expect.stringContaining('expired'),
  });
  expect(JSON.parse(allocate('job', '--ttl', '1h', '--json').stdout)).toMatchObject({ created: true, state: 'active' });
});

test('limits of all sessions together fit the card, or --overcommit is said', () => {
  fakeSmi(account, [8192, 8192]);
  expect(account.vram(['allocate', 'a', '--limit', '0=6GiB'])).toMatchObject({ status: 0, stderr: '' });
  const refused = account.vram(['allocate', 'b', '--limit', '3GiB', '--json']);
  expect([refused.status, errorCode(refused)]).toEqual([7, 'overcommit']);
  expect(refused.stderr).toContain('GPU 0 (Test) has 8GiB, and a, b would be promised 9GiB');
  expect(account.vram(['allocate', 'b', '--limit', '1=3GiB']).status).toBe(0);
  expect(account.vram(['run', '--limit', '3GiB', '--', 'true'], { CUDA_VISIBLE_DEVICES: '1' }).status).toBe(0);
  expect(account.vram(['run', '--limit', '3GiB', '--', 'true'], { CUDA_VISIBLE_DEVICES: '0' }).status).toBe(125);
  const allowed = account.vram(['run', '--limit', '3GiB', '--overcommit', '--', 'true']);
  expect(allowed).toMatchObject({ status: 0, stderr: expect.stringContaining('would be promised') });
  expect(account.vram(['allocate', 'c', '--limit', '7=1GiB']).stderr).toContain('no GPU 7');
  account.vram(['release', 'a']);
  expect(account.vram(['allocate', 'c', '--limit', '0=8GiB']).status).toBe(0);
});

test('without a driver nobody can tell, and a note says so', () => {
  account.script('nvidia-smi', '#!/bin/sh\nexit 9\n');
  expect(allocate('a')).toMatchObject({ status: 0, stderr: expect.stringContaining('is not known') });
});

test('a session that is in use is closed by force: no new program, and it goes with the last one', async () => {
  await make('team');
  const child = account.start(['attach', 'team', '--', 'sh', '-c', 'read x']);
  const result = ended(child);
  await until(() => list()[0]?.expires === null, { what: 'the program' });
  expect(account.vram(['release', '--force', 'team', '--json']).stdout).toBe(
    `${JSON.stringify([{ name: 'team', waitingFor: [child.pid] }])}\n`,
  );
  expect(list()).toMatchObject([{ name: 'team', state: 'closed' }]);
  expect(account.vram(['attach', 'team', '--', 'true']).status).toBe(125);
  expect(allocate('team').status).toBe(6);
  child.stdin?.end();
  expect((await result).signal).toBeNull();
  expect(list()).toEqual([]);
});

test('whoever only looks does not wait for the lock; whoever changes something is told after ten seconds', async () => {
  await make('team');
  withLock(account.stateDir, () => {
    expect(list()).toHaveLength(1);
    const result = account.vram(['release', 'team', '--json']);
    expect([result.status, errorCode(result)]).toEqual([13, 'busy']);
  });
  expect(account.vram(['release', 'team']).status).toBe(0);
});

test('eight at once make eight sessions, and of one name one', async () => {
  const all = Array.from({ length: 8 }, (_, at) => ended(account.start(['allocate', `s${at}`, '--limit', '1GiB'])));
  const same = Array.from({ length: 4 }, () => ended(account.start(['allocate', 'same', '--limit', '1GiB', '--json'])));
  expect((await Promise.all(all)).map(({ status }) => status)).toEqual(Array.from({ length: 8 }, () => 0));
  const created = (await Promise.all(same)).map(({ stdout }) => (JSON.parse(stdout) as { created: boolean }).created);
  expect(created.filter(Boolean)).toHaveLength(1);
  expect(list()).toHaveLength(9);
});

test('what a killed penstock-vram left unfinished is cleared away', async () => {
  await make('team');
  mkdirSync(dirOf('.0123456789abcdef'), { mode: 0o700 });
  writeFileSync(join(dirOf('.0123456789abcdef'), 'ledger'), 'x');
  expect(list()).toHaveLength(1);
  expect(existsSync(dirOf('.0123456789abcdef'))).toBe(false);
});

test('the figures are text that Prometheus reads', async () => {
  await make('team');
  const { stdout } = account.vram(['metrics']);
  for (const line of stdout.split('\n').filter(Boolean))
    expect(line).toMatch(
      /^(?:# (?:HELP|TYPE) penstock_vram_\w+ .+|penstock_vram_\w+\{(?:\w+="[^"\\\n]*",?)+\} (?:[0-9.e+]+|\+Inf|Inf))$/,
    );
  expect(stdout).toContain('penstock_vram_limit_bytes{session="team",device="0",component="vram"} 1073741824');
});

test('where no packages are installed, the figures cannot be had, and all else can', async () => {
  const clone = join(account.home, 'clone');
  for (const path of ['package.json', 'hack/node', 'lib/base', 'native/cli', 'native/layout.ts', 'dist/native/lib'])
    cpSync(join(ROOT, path), join(clone, path), { recursive: true });
  const vram = (...args: string[]) =>
    spawnSync(join(clone, 'native/cli/penstock-vram'), args, { env: account.env, encoding: 'utf8' });
  expect(vram('run', '--limit', '1GiB', '--', 'echo', 'started').stdout).toBe('started\n');
  expect(vram('metrics')).toMatchObject({ status: 15, stderr: expect.stringContaining('npm ci') });
});

test('what no limit covers is told as what was seen so far', async () => {
  await make('team');
  const at = HEADER.fields.stats.offset + DEVICE_STATS.fields.unaccounted.offset;
  const fd = openSync(join(dirOf('team'), 'ledger'), 'r+');
  writeSync(
    fd,
    Buffer.from(BigUint64Array.of(4096n, 2n).buffer),
    0,
    16,
    at + UNACCOUNTED.graph * UNACCOUNTED_ENTRY.size,
  );
  closeSync(fd);
  const { out } = await call(account, metrics, []);
  expect(out).toContain('# TYPE penstock_vram_unaccounted_bytes_total counter\n');
  expect(out).toContain('{session="team",device="0",kind="graph",component="vram"} 4096\n');
  const shown = JSON.parse((await call(account, status, ['--json'])).out) as unknown;
  expect(shown).toMatchObject([{ devices: [{ unaccounted: { graph: { bytes: 4096, calls: 2 } } }] }]);
});

test('status is shown again and again, until interrupted', async () => {
  await make('team');
  const child = account.start(['status', '--watch', '--interval', '1s', '--json']);
  let seen = '';
  child.stdout?.on('data', (data) => (seen += String(data)));
  const result = ended(child);
  await until(() => seen.split('\n').length > 2, { what: 'a second look' });
  child.kill('SIGINT');
  expect((await result).signal).toBe('SIGINT');
  for (const line of seen.trimEnd().split('\n')) expect(JSON.parse(line)).toMatchObject([{ name: 'team' }]);
});

test.each(['run', 'sessions', 'allocate', 'attach', 'status', 'release', 'metrics', 'doctor'])(
  '%s has a page that names its options',
  (command) => {
    const page = account.vram([command, '--help']);
    expect(page.status).toBe(0);
    for (const title of ['NAME', 'SYNOPSIS', 'DESCRIPTION', 'OPTIONS', 'EXIT STATUS', 'EXAMPLES'])
      expect(page.stdout).toMatch(new RegExp(`^${title}$`, 'm'));
    expect(account.vram(['help', command]).stdout).toBe(page.stdout);
    expect(Math.max(...page.stdout.split('\n').map((line) => line.length))).toBeLessThanOrEqual(120);
  },
);
