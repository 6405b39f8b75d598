// SPDX-License-Identifier: Apache-2.0
// T4, what is covered: a process holds its bytes for as long as the kernel says that it lives, whatever it does to its descriptors, threads and
// children, and whatever namespaces and filters it lives in.
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { chmodSync, closeSync, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { HEADER, IDENTITY, LOCK, identityOffset } from '#native/layout.ts';
import { until } from '#test/until.ts';
import { createSlice, fakeEnvironment, PROGRAMS } from './slice.ts';
import type { Slice } from './slice.ts';
import { OK, OUT_OF_MEMORY, steps, told } from './steps.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
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
  const env = fakeEnvironment({ LD_PRELOAD: `${slice.vram}:${slice.nvml}` });
  const child = spawn(file, args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  started.push(child);
  const gone = new Promise<number | null>((done) => child.once('exit', (status) => done(status)));
  // Not its exit: what it said last may be read after that.
  const closed = new Promise<number | null>((done) => child.once('close', (status) => done(status)));
  let text = '';
  const lines = async (count: number): Promise<Holder> => {
    while (text.split('\n').length <= count) {
      const more = await Promise.race([new Promise((done) => child.stdout.once('data', done)), closed]);
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
    const holder = await hold('many', 2 * MIB, ['256']);
    expect(holder.said).toMatchObject([{ result: 256 }]);
    expect([ask(512 * MIB + 1), ask(512 * MIB)]).toEqual([OUT_OF_MEMORY, OK]);
    const after = await holder.go(1);
    expect(after.said[1]).toMatchObject({ result: 128 });
    expect([ask(512 * MIB + 1), ask(512 * MIB)]).toEqual([OUT_OF_MEMORY, OK]);
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
