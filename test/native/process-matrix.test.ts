// SPDX-License-Identifier: Apache-2.0
// T4: every kind of process. What has nothing to do with GPUs notices nothing; what cannot be covered runs as it would without us; what is covered
// holds its bytes for as long as the kernel says that it lives, whatever it does to its descriptors, threads and children.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readFileSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { HEADER, IDENTITY, LOCK, identityOffset } from '#native/layout.ts';
import { until } from '#test/until.ts';
import { BUILT, createSlice, FAKES, PROGRAMS, runFake } from './slice.ts';
import type { Run, Slice } from './slice.ts';
import { OK, OUT_OF_MEMORY, steps, told } from './steps.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const NOBODY = 65_534;
const asRoot = process.getuid?.() === 0;
const program = (name: string): string => join(PROGRAMS, name);

let slice: Slice;
const started: ChildProcess[] = [];
afterEach(() => {
  for (const child of started.splice(0)) child.kill('SIGKILL');
  slice.remove();
});

/** A process that holds memory until it is let go. */
interface Holder {
  /** Lines that it has said: number of the process that holds, and what its allocation answered. */
  readonly said: readonly { readonly pid: number; readonly result: number }[];
  /** Sends one letter and waits for that many more lines. */
  go(lines: number): Promise<Holder>;
  /** Ends its input and waits until it has gone. */
  end(): Promise<number | null>;
  kill(): Promise<void>;
}

const LINES: Readonly<Record<string, number>> = { 'fork-exec': 2 };

async function hold(how: string, bytes: number, rest: string[] = [], launcher: string[] = []): Promise<Holder> {
  const [file = '', ...args] = [...launcher, program('holder'), how, String(bytes), ...rest];
  const { CUDA_VISIBLE_DEVICES: _visible, ...inherited } = process.env;
  const env = { ...inherited, LD_PRELOAD: `${slice.vram}:${slice.nvml}`, LD_LIBRARY_PATH: FAKES };
  const child = spawn(file, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  started.push(child);
  const gone = new Promise<number | null>((done) => child.once('exit', (status) => done(status)));
  let text = '';
  const lines = async (count: number): Promise<Holder> => {
    while (text.split('\n').length <= count) {
      const more = await Promise.race([new Promise((done) => child.stdout.once('data', done)), gone]);
      if (!Buffer.isBuffer(more)) throw new Error(`holder ${how} ended with ${String(more)} and said ${text}`);
      text += more.toString();
    }
    const said = text
      .trim()
      .split('\n')
      .map((line) => line.split(' ').slice(1).map(Number))
      .map(([pid = -1, result = -1]) => ({ pid, result }));
    return {
      said,
      go: (extra) => {
        child.stdin.write('g');
        return lines(count + extra);
      },
      end: () => {
        child.stdin.end();
        return gone;
      },
      kill: async () => {
        child.kill('SIGKILL');
        await gone;
      },
    };
  };
  return lines(LINES[how] ?? 1);
}

/** What a new process is answered when it asks for that many bytes. */
const ask = (bytes: number): number | string => told(steps(slice, [`alloc:a:${bytes}`]))[0] ?? 'nothing';

describe('a program that never touches CUDA', () => {
  const run = (command: string[], preload = slice.vram): Run => {
    const [file = '', ...args] = command;
    return runFake(file, args, { LD_PRELOAD: preload });
  };

  test.each(['inert', 'inert-static', 'inert-musl', 'inert-musl-static'])(
    '%s: threads, descriptors, handlers, masks and memory are as without us',
    (name) => {
      slice = createSlice({ limits: { 0: GIB } });
      const without = runFake(program(name), [], {});
      expect(without).toMatchObject({ status: 0, stderr: '' });
      expect(without.stdout).toMatch(/^threads 1 descriptors \d+ handlers 0 .* memory there\n$/);
      expect(run([program(name)])).toEqual(without);
      expect(run([program(name)], `${slice.vram}:${slice.nvml}`)).toEqual(without);
    },
  );

  test.runIf(process.arch === 'x64')('32 bits: runs, and the loader says that the object is not for it', () => {
    slice = createSlice({ limits: { 0: GIB } });
    const got = run([program('inert-32')]);
    expect(got).toMatchObject({ status: 0, stdout: runFake(program('inert-32'), [], {}).stdout });
    expect(got.stderr).toContain('wrong ELF class');
  });

  test('little address space: what suffices without us suffices with a megabyte more', () => {
    slice = createSlice({ limits: { 0: GIB } });
    const enough = (kib: number, preload: string): boolean =>
      run(['/bin/sh', '-c', `ulimit -v ${kib}; exec ${program('inert')}`], preload).stdout.includes('memory there');
    let kib = 5000;
    while (!enough(kib, '')) kib += 200;
    expect(enough(kib + 1024, slice.vram)).toBe(true);
  });

  test('a setuid program runs with its rights and without the object, in silence', () => {
    slice = createSlice({ limits: { 0: GIB } });
    const got = spawnAs(asRoot ? NOBODY : undefined, ['/usr/bin/mount', '--version'], { LD_PRELOAD: slice.vram });
    expect(got).toMatchObject({ status: 0, stderr: '' });
  });
});

function spawnAs(uid: number | undefined, command: string[], env: Record<string, string>): Run {
  const wanted = uid === undefined ? command : ['setpriv', `--reuid=${uid}`, '--clear-groups', ...command];
  const [file = '', ...args] = wanted;
  return runFake(file, args, env);
}

describe('an object that the loader cannot take', () => {
  const over = ['dlopen:libcuda.so.1', 'init', 'context:c:0', `alloc:a:${2 * GIB}`];
  const run = (preload: string): Run => runFake(program('driver-steps'), over, { LD_PRELOAD: preload });
  const copy = (name: string, change: (bytes: Buffer) => Buffer): string => {
    slice = createSlice({ limits: { 0: GIB } });
    const path = join(slice.folder, name);
    writeFileSync(path, change(readFileSync(join(BUILT, 'lib/libpenstock_vram.so'))));
    return path;
  };
  const withMachine = (machine: number) => (bytes: Buffer) => {
    bytes.writeUInt16LE(machine, 18);
    return bytes;
  };
  const PPC64 = 21;

  // Preloading is open by its nature: the loader says one line and goes on. `penstock-vram run` and `doctor` look before they start.
  test.each<[string, (bytes: Buffer) => Buffer, RegExp]>([
    ['for another machine', withMachine(PPC64), /cannot be preloaded/],
    ['cut off in its header', (bytes) => bytes.subarray(0, 40), /file too short/],
    ['empty', () => Buffer.alloc(0), /file too short/],
    ['of text', () => Buffer.from('#!/bin/sh\n'.repeat(20)), /invalid ELF header/],
  ])('%s: the program runs without a quota, and standard error says so', (_what, change, line) => {
    const got = run(copy('object.so', change));
    expect(got.status).toBe(0);
    expect(got.stdout).toContain(`alloc:a:${2 * GIB} = ${OK}`);
    expect(got.stderr).toMatch(line);
  });

  test('missing', () => {
    slice = createSlice({ limits: { 0: GIB } });
    const got = run(join(slice.folder, 'nowhere.so'));
    expect(got.status).toBe(0);
    expect(got.stderr).toMatch(/cannot open shared object file/);
  });

  test('cut off behind its header: no process gets as far as the driver', () => {
    const got = run(copy('object.so', (bytes) => bytes.subarray(0, 8192)));
    expect(got.status).not.toBe(0);
    expect(got.stdout).not.toContain('alloc:a');
  });

  test('on a file system mounted noexec', () => {
    slice = createSlice({ limits: { 0: GIB } });
    const folder = join(slice.folder, 'noexec');
    mkdirSync(folder);
    const script = [
      `mount -t tmpfs -o noexec none ${folder}`,
      `cp ${join(BUILT, 'lib/libpenstock_vram.so')} ${folder}/o.so`,
      `LD_PRELOAD=${folder}/o.so exec ${program('driver-steps')} ${over.join(' ')}`,
    ].join(' && ');
    const got = runFake('unshare', [asRoot ? '-m' : '-Urm', '/bin/sh', '-c', script], {});
    expect(got.status).toBe(0);
    expect(got.stderr).toMatch(/failed to map segment/);
  });

  test('a session whose object is a copy and not a link is the same session', () => {
    slice = createSlice({ limits: { 0: GIB } });
    mkdirSync(join(slice.folder, 'bin'));
    const path = join(slice.folder, 'bin/o.so');
    copyFileSync(join(BUILT, 'lib/libpenstock_vram.so'), path);
    chmodSync(path, 0o555);
    expect(run(path).stdout).toContain(`alloc:a:${2 * GIB} = ${OK}`); // no region beside it, no quota
    mkdirSync(join(slice.folder, 'region'));
    for (const file of ['control', 'ledger'])
      copyFileSync(join(slice.folder, file), join(slice.folder, 'region', file));
    expect(run(path).stdout).toContain(`alloc:a:${2 * GIB} = ${OUT_OF_MEMORY}`);
  });
});

describe('a process that holds memory', () => {
  const HOLDS = 700 * MIB;
  const REST = GIB - HOLDS;

  test.each(['plain', 'close-all', 'leader-gone', 'privileges'])('%s: is charged until it ends', async (how) => {
    slice = createSlice({ limits: { 0: GIB } });
    if (how === 'privileges') chmodSync(slice.folder, 0o755);
    const holder = await hold(how, HOLDS);
    expect(holder.said).toMatchObject([{ result: OK }]);
    expect([ask(REST + 1), ask(REST)]).toEqual([OUT_OF_MEMORY, OK]);
    expect(await holder.end()).toBe(0);
    expect(ask(GIB)).toBe(OK);
  });

  test('is charged until it is killed', async () => {
    slice = createSlice({ limits: { 0: GIB } });
    const holder = await hold('plain', HOLDS);
    expect(ask(REST + 1)).toBe(OUT_OF_MEMORY);
    await holder.kill();
    expect(ask(GIB)).toBe(OK);
  });

  test('executes another program: its bytes are free at once, though the process lives', async () => {
    slice = createSlice({ limits: { 0: GIB } });
    const holder = await hold('become', HOLDS);
    await until(() => ask(GIB) === OK, { what: 'the bytes to come back' });
    expect(await holder.end()).toBe(0);
  });

  test('ends while its child lives: the bytes come back, since the child has no part in them', async () => {
    slice = createSlice({ limits: { 0: GIB } });
    const holder = await hold('child', HOLDS);
    await until(() => ask(GIB) === OK, { what: 'the bytes to come back' });
    const [{ pid } = { pid: 0 }] = holder.said;
    expect(() => process.kill(pid, 0)).not.toThrow();
    process.kill(pid, 'SIGKILL');
  });

  test('forks and executes: parent and child are charged each for its own', async () => {
    slice = createSlice({ limits: { 0: GIB } });
    const holder = await hold('fork-exec', 400 * MIB);
    expect(holder.said.map(({ result }) => result)).toEqual([OK, OK]);
    expect([ask(224 * MIB + 1), ask(224 * MIB)]).toEqual([OUT_OF_MEMORY, OK]);
    await holder.end();
  });

  test('ends and stays a zombie: the bytes come back', async () => {
    slice = createSlice({ limits: { 0: GIB } });
    const holder = await hold('zombie', HOLDS);
    expect(holder.said).toMatchObject([{ result: OK }]);
    const [{ pid } = { pid: 0 }] = holder.said;
    expect(readFileSync(`/proc/${pid}/stat`, 'utf8')).toMatch(/\) Z /);
    expect(ask(GIB)).toBe(OK);
    await holder.end();
  });

  test('256 processes at once, and others in the places of those that died', async () => {
    slice = createSlice({ limits: { 0: GIB } });
    const holder = await hold('many', 3 * MIB, ['256']);
    expect(holder.said).toMatchObject([{ result: 256 }]);
    expect([ask(256 * MIB + 1), ask(256 * MIB)]).toEqual([OUT_OF_MEMORY, OK]);
    const after = await holder.go(1);
    expect(after.said[1]).toMatchObject({ result: 128 });
    expect([ask(256 * MIB + 1), ask(256 * MIB)]).toEqual([OUT_OF_MEMORY, OK]);
    await after.end();
    expect(ask(GIB)).toBe(OK);
  });

  // In namespaces of their own both are process 1: nothing about them but the kernel's lock tells them apart.
  test('in another PID namespace: neither sees the other, both share the slice', async () => {
    slice = createSlice({ limits: { 0: GIB } });
    const apart = ['unshare', asRoot ? '-pf' : '-Urpf', '--kill-child'];
    const first = await hold('plain', 400 * MIB, [], apart);
    const second = await hold('plain', 400 * MIB, [], apart);
    expect([first.said, second.said]).toEqual([[{ pid: 1, result: OK }], [{ pid: 1, result: OK }]]);
    const third = await hold('plain', 400 * MIB, [], apart);
    expect(third.said).toEqual([{ pid: 1, result: OUT_OF_MEMORY }]);
    await first.end();
    const fourth = await hold('plain', 600 * MIB, [], apart);
    expect(fourth.said).toEqual([{ pid: 1, result: OK }]);
    await Promise.all([second.end(), third.end(), fourth.end()]);
    expect(ask(GIB)).toBe(OK);
  });

  test.each(['clone', 'modern'])(
    'under a filter that refuses %s: the slice holds, and its end is seen',
    async (filter) => {
      slice = createSlice({ limits: { 0: GIB } });
      const holder = await hold('plain', HOLDS, [], [program('confined'), filter]);
      expect(holder.said).toMatchObject([{ result: OK }]);
      expect([ask(REST + 1), ask(REST)]).toEqual([OUT_OF_MEMORY, OK]);
      await holder.kill();
      expect(ask(GIB)).toBe(OK);
    },
  );
});

describe('a lock that names a living process which will never let go', () => {
  // A neighbour that was stopped, or one that lies. Nobody breaks in (it could go on with what it has read), nobody waits for ever.
  test('is waited for ten seconds, and then the answer is out of memory', async () => {
    slice = createSlice({ limits: { 0: GIB } });
    const holder = await hold('plain', MIB);
    const path = join(slice.folder, 'ledger');
    const ledger = readFileSync(path);
    const generation = ledger.readUInt32LE(identityOffset(0) + IDENTITY.fields.generation.offset);
    const word = Buffer.alloc(4);
    word.writeUInt32LE(1 | (generation << LOCK.generationShift));
    const file = openSync(path, 'r+');
    writeSync(file, word, 0, 4, HEADER.fields.lock.offset);
    closeSync(file);
    const since = performance.now();
    expect(ask(MIB)).toBe(OUT_OF_MEMORY);
    const seconds = (performance.now() - since) / 1000;
    expect(seconds).toBeGreaterThan(9);
    expect(seconds).toBeLessThan(25);
    await holder.kill();
    expect(ask(GIB)).toBe(OK);
  });
});
