// SPDX-License-Identifier: Apache-2.0
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { placesOf } from '#native/cli/config.ts';
import { until } from '#test/until.ts';
import { CLI, ROOT, createAccount, ended } from './cli.ts';
import type { Account } from './cli.ts';

let account: Account;
beforeAll(() => {
  account = createAccount();
});
afterAll(() => account.remove());

const run = (...command: string[]) => account.vram(['run', '--limit', '4GiB', '--', ...command]);

test.each([0, 1, 2, 7, 125, 126, 127, 255])('exit status %i is the program’s own', (status) => {
  expect(run('sh', '-c', `exit ${status}`)).toMatchObject({ status, signal: null });
});

test.each(['SIGTERM', 'SIGKILL', 'SIGSEGV', 'SIGINT', 'SIGHUP', 'SIGPIPE', 'SIGUSR1'] as const)(
  'a program that %s ends has ended by it',
  (signal) => {
    expect(run('sh', '-c', `ulimit -c 0; kill -${signal.slice(3)} $$`)).toMatchObject({ status: null, signal });
  },
);

test('words reach the program as they are, with and without the dashes', () => {
  const words = ['a b', '', '*', '--limit', '-h', "it's", '$HOME', 'line\nbreak'];
  const print = 'printf "[%s]" "$@"';
  const expected = words.map((word) => `[${word}]`).join('');
  expect(run('sh', '-c', print, 'sh', ...words).stdout).toBe(expected);
  expect(account.vram(['run', '--limit=4GiB', 'sh', '-c', print, 'sh', ...words]).stdout).toBe(expected);
});

test('the program has the number of the process that was started, its input and its further descriptors', async () => {
  const child = account.start(['run', '--limit', '4GiB', '--', 'sh', '-c', 'echo $$; cat; cat <&3; cat <&4'], {
    stdio: ['pipe', 'pipe', 'pipe', 'pipe', 'pipe'],
  });
  const result = ended(child);
  child.stdin?.end('in');
  (child.stdio[3] as NodeJS.WritableStream).end('three');
  (child.stdio[4] as NodeJS.WritableStream).end('four');
  expect((await result).stdout).toBe(`${child.pid}\ninthreefour`);
});

test('a signal goes to the program, once, and to nothing else', async () => {
  const child = account.start([
    'run',
    '--limit',
    '4GiB',
    '--',
    'sh',
    '-c',
    'trap "echo term" TERM; echo ready; while :; do read x && exit 3; done',
  ]);
  let seen = '';
  child.stdout?.on('data', (data) => (seen += String(data)));
  const result = ended(child);
  await until(() => seen.includes('ready'), { what: 'the program' });
  child.kill('SIGTERM');
  await until(() => seen.includes('term'), { what: 'the signal' });
  child.stdin?.end('x\n');
  expect(await result).toMatchObject({ status: 3, stdout: 'ready\nterm\n' });
});

test('a terminal’s interrupt reaches the program once', async () => {
  // `exec`: a shell that stays (dash does, bash does not) would be ended by the interrupt itself.
  const command = `exec '${CLI}' run --limit 4GiB -- sh -c 'trap "echo interrupted" INT; echo ready; read x; read x; exit 5'`;
  const terminal = spawn('script', ['-qefc', command, '/dev/null'], { env: account.env, cwd: account.home });
  let seen = '';
  terminal.stdout.on('data', (data) => (seen += String(data)));
  const result = ended(terminal);
  await until(() => seen.includes('ready'), { what: 'the program at the terminal' });
  terminal.stdin.write('\x03');
  await until(() => seen.includes('interrupted'), { what: 'the interrupt' });
  terminal.stdin.write('a\nb\n');
  expect((await result).status).toBe(5);
  expect(seen.match(/interrupted/g)).toHaveLength(1);
});

test('a program that is stopped goes on', async () => {
  const child = account.start(['run', '--limit', '4GiB', '--', 'sh', '-c', 'echo ready; read x; exit 4']);
  let seen = '';
  child.stdout?.on('data', (data) => (seen += String(data)));
  const result = ended(child);
  await until(() => seen.includes('ready'), { what: 'the program' });
  const state = () => readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]?.[0];
  // Not SIGTSTP: the kernel drops that in an orphaned process group, which is what a test run without a terminal may be.
  child.kill('SIGSTOP');
  await until(() => state() === 'T', { what: 'the program to stop' });
  child.kill('SIGCONT');
  child.stdin?.end('x\n');
  expect((await result).status).toBe(4);
});

test('what nohup ignores stays ignored', () => {
  const mask = (command: readonly string[]) => {
    const [program = '', ...args] = command;
    const script = `exec ${program} ${args.map((word) => `'${word}'`).join(' ')}`;
    const { stdout } = account.vram(['run', '--limit', '4GiB', '--', 'sh', '-c', script]);
    // Of signals 1 to 31, which Node resets in its children; what is ignored above them came from whoever runs the tests.
    return Number(BigInt(`0x${/SigIgn:\s*([0-9a-f]+)/.exec(stdout)?.[1] ?? 'f'}`) & 0x7f_ff_ff_ffn);
  };
  expect(mask(['grep', 'SigIgn', '/proc/self/status'])).toBe(0);
  account.script('under-nohup', `#!/bin/sh\nexec nohup '${CLI}' "$@"\n`);
  const nohup = spawnSync('under-nohup', ['run', '--limit', '4GiB', '--', 'grep', 'SigIgn', '/proc/self/status'], {
    env: account.env,
    encoding: 'utf8',
  });
  expect(nohup.stdout).toMatch(/SigIgn:\s*[0-9a-f]{15}1/);
});

test('the environment is kept, whatever its names', () => {
  const odd = { 'BASH_FUNC_f%%': '() {  echo f;\n}', 'with.dot': '1', EMPTY: '', UNICODE: 'ä' };
  const { stdout } = account.vram(['run', '--limit', '4GiB', '--', 'cat', '/proc/self/environ'], odd);
  const entries = stdout.split('\0');
  expect(entries).toEqual(expect.arrayContaining(['with.dot=1', 'EMPTY=', 'UNICODE=ä']));
  expect(entries.find((entry) => entry.startsWith('BASH_FUNC_f'))).toContain('echo f');
});

test('the objects come in front of what LD_PRELOAD held, once, in children too', () => {
  const print = 'echo "$LD_PRELOAD"; sh -c "echo \\$LD_PRELOAD"';
  const { stdout } = account.vram(['run', '--limit', '4GiB', '--', 'sh', '-c', print], { LD_PRELOAD: 'libm.so.6' });
  const [first = '', second] = stdout.trim().split('\n');
  expect(first).toMatch(
    /^\/\S+\/sessions\/run-[0-9a-f]{8}\/libpenstock_vram\.so:\/\S+\/libpenstock_nvml\.so:libm\.so\.6$/,
  );
  expect(second).toBe(first);
});

test('a child has the objects mapped', () => {
  const { stdout } = run('sh', '-c', 'sh -c "cat /proc/\\$\\$/maps"');
  expect(stdout).toMatch(/\/sessions\/run-[0-9a-f]{8}\/libpenstock_vram\.so/);
});

test('a session without a name ends with its last process', async () => {
  const child = account.start(
    ['run', '--limit', '4GiB', '--', 'sh', '-c', '(read x; exec sleep 60) & echo ready; exit 0'],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const names = () =>
    (JSON.parse(account.vram(['sessions', '--json']).stdout) as { name: string; ephemeral: boolean }[]).filter(
      ({ ephemeral }) => ephemeral,
    );
  await until(() => child.exitCode === 0, { what: 'the program to end' });
  expect(names()).toHaveLength(1);
  child.stdin?.end();
  const dir = join(account.stateDir, 'sessions', names()[0]!.name);
  expect(existsSync(dir)).toBe(true);
  account.vram(['release', names()[0]!.name]);
  expect(existsSync(dir)).toBe(true);
  const users = () => account.vram(['release', '--force', names()[0]?.name ?? 'none']).stdout;
  const [, pid] = /process ([0-9]+)/.exec(users()) ?? [];
  process.kill(Number(pid), 'SIGKILL');
  await until(() => names().length === 0, { what: 'the session to go' });
  expect(existsSync(dir)).toBe(false);
});

test('a program that is not there is 127, one that cannot be executed 126, and no session is made', () => {
  const file = join(account.home, 'plain');
  writeFileSync(file, 'x');
  chmodSync(file, 0o644);
  expect(run('no-such-program')).toMatchObject({ status: 127, stderr: expect.stringContaining('command not found') });
  expect(run('/no/such/file')).toMatchObject({ status: 127 });
  expect(run(account.home)).toMatchObject({ status: 126 });
  expect(run(file)).toMatchObject({ status: 126 });
  expect(JSON.parse(account.vram(['sessions', '--json']).stdout)).toEqual([]);
});

test.each([
  [['run', '--', 'true'], '--limit is required'],
  [['run', '--limit', '4G', '--', 'true'], '4GB'],
  [['run', '--limit', '4GiB'], 'no program'],
  [['run', '--limit', '4GiB', '--sesion', 'x', '--', 'true'], '--sesion'],
  [['run', '--limit', '4GiB', '--session', '../x', '--', 'true'], 'name of a session'],
  [['run', '--limit', '4GiB', '--ttl', 'soon', '--', 'true'], '--ttl'],
  [['run', '--limit', '4GiB', '--managed', 'no', '--', 'true'], '--managed'],
  [['attach', '--', 'true'], 'no session'],
  [['attach', 'nobody', '--', 'true'], 'no session nobody'],
])('%j fails with 125, as itself, and starts nothing', (args, message) => {
  expect(account.vram(args)).toMatchObject({ status: 125, stdout: '', stderr: expect.stringContaining(message) });
});

test('a Node that does not start is a failure of penstock-vram, and not of the program', () => {
  const result = account.vram(['run', '--limit', '4GiB', '--', 'true'], { PENSTOCK_NODE: '/bin/false' });
  expect([result.status, result.stdout]).toEqual([125, '']);
});

test.each([
  ['NODE_OPTIONS', '--bogus'],
  ['PENSTOCK_NODE', '/nonexistent'],
])('%s=%s keeps Node from starting: 125', (name, value) => {
  expect(account.vram(['run', '--limit', '4GiB', '--', 'true'], { [name]: value }).status).toBe(125);
});

test('variables of the caller are the program’s, whatever their names', () => {
  const mine = { cache: 'abc', here: 'x', node: 'y', plan: 'p', objects: 'o', folder: 'f' };
  const { stdout } = account.vram(['run', '--limit', '4GiB', '--', 'env'], mine);
  for (const [name, value] of Object.entries(mine)) expect(stdout.split('\n')).toContain(`${name}=${value}`);
  expect(stdout).not.toContain('penstock_vram_');
});

test('standard output that cannot be written is told, and is no broken pipe', () => {
  const full = (words: string): unknown =>
    spawnSync('bash', ['-c', `'${CLI}' ${words} >/dev/full`], { env: account.env, encoding: 'utf8' });
  expect(full('help')).toMatchObject({ status: 14, stderr: expect.stringContaining('standard output cannot be') });
  expect(full('run --help')).toMatchObject({ status: 125 });
});

test('a file of garbage is 126', () => {
  const file = join(account.home, 'garbage');
  writeFileSync(file, Buffer.from('7f454c46010203000000', 'hex'));
  chmodSync(file, 0o755);
  expect(run(file).status).toBe(126);
});

test('--ttl of a session that is there is no silent wish', () => {
  const allocate = (...more: string[]) => account.vram(['allocate', 'timed', '--limit', '1MiB', ...more]);
  expect(allocate('--ttl', '2h').stderr).not.toContain('--ttl');
  expect(allocate('--ttl', '2h').stderr).not.toContain('--ttl');
  expect(allocate('--ttl', '3h')).toMatchObject({ status: 0, stderr: expect.stringContaining('2h (--ttl)') });
});

test.each([['--limit', '-1'], ['--limit', '--', 'true'], ['--limit']])(
  'an option without its value is told in one line: %j %j',
  (...words) => {
    expect(account.vram(['run', ...words])).toMatchObject({
      status: 125,
      stderr: expect.stringMatching(/^penstock-vram: --limit wants a size; .*\n$/),
    });
  },
);

test('without HOME the user database tells where the home is, and the program gets none', () => {
  const env = { PATH: account.env['PATH'], PENSTOCK_VRAM_STATE_DIR: account.stateDir };
  const command = ['run', '--limit', '4GiB', '--', 'sh', '-c', 'echo "${HOME-none}"'];
  expect(spawnSync(CLI, command, { env, encoding: 'utf8' })).toMatchObject({ status: 0, stdout: 'none\n' });
  expect(() => placesOf({ PENSTOCK_VRAM_STATE_DIR: 'state' }, {})).toThrow('not an absolute path');
  expect(placesOf({}, {}).stateDir).toBe(join(userInfo().homedir, '.local/state/penstock/vram'));
});

test('compiled modules are taken from, and put into, a folder that nobody else can write to', () => {
  const cache = join(account.home, 'cache');
  const compiled = join(cache, 'penstock/compiled');
  mkdirSync(compiled, { recursive: true });
  const filled = (mode: number): boolean => {
    chmodSync(compiled, mode);
    expect(account.vram(['version'], { XDG_CACHE_HOME: cache }).status).toBe(0);
    return readdirSync(compiled).length > 0;
  };
  expect([filled(0o770), filled(0o702), filled(0o700)]).toEqual([false, false, true]);
});

test('objects that are not built are named, with the command that builds them', () => {
  const result = account.vram(['run', '--limit', '4GiB', '--lib-dir', '/nowhere', '--', 'true']);
  expect(result).toMatchObject({ status: 125, stderr: expect.stringContaining('make -C native') });
});

test.each([
  ['junk', Buffer.from('junk')],
  ['a part of an object', readFileSync(join(ROOT, 'dist/native/lib/libpenstock_vram.so')).subarray(0, 20_000)],
])('%s in the folder of the objects is no limit, and starts nothing', (what, bytes) => {
  const dir = join(account.home, what.replaceAll(' ', '-'));
  mkdirSync(dir);
  for (const name of ['libpenstock_vram.so', 'libpenstock_nvml.so']) writeFileSync(join(dir, name), bytes);
  const result = account.vram(['run', '--limit', '4GiB', '--lib-dir', dir, '--', 'echo', 'started']);
  expect(result).toMatchObject({ status: 125, stdout: '', stderr: expect.stringContaining('make -C native') });
});

test('a session inside another one is refused, the same one is joined', () => {
  expect(run(CLI, 'run', '--limit', '1GiB', '--', 'true')).toMatchObject({
    status: 125,
    stderr: expect.stringContaining('already'),
  });
  const joined = ['run', '--session', 'nest', '--limit', '1GiB', '--', 'sh', '-c'];
  expect(
    account.vram([...joined, `'${CLI}' attach nest -- sh -c 'echo $LD_PRELOAD'`]).stdout.match(/libpenstock_vram/g),
  ).toHaveLength(1);
});

test('a folder that the loader cannot take objects from is refused', () => {
  const dir = join(account.home, 'with blank');
  expect(account.vram(['run', '--limit', '1GiB', '--state-dir', dir, '--', 'true'])).toMatchObject({
    status: 125,
    stderr: expect.stringContaining('--state-dir'),
  });
});
