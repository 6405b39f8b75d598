// SPDX-License-Identifier: Apache-2.0
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess, SpawnOptions } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import type { Command, Context } from '#native/cli/context.ts';
import { explain } from '#native/cli/errors.ts';
import { createProcesses } from '#native/cli/processes.ts';
import { systemDisk } from '#native/cli/sessions/disk.ts';
import type { Disk } from '#native/cli/sessions/disk.ts';
import type { SessionRequest } from '#native/cli/sessions/open-session.ts';
import { SessionStore } from '#native/cli/sessions/store.ts';

export const ROOT = resolve(import.meta.dirname, '../..');
export const CLI = join(ROOT, 'native/cli/penstock-vram');
const FAKES = join(ROOT, 'dist/native/fake');
export const PROGRAMS = join(ROOT, 'dist/native/programs');
/** Far above what any command needs; a command that hangs is a failure. */
const LIMIT_MS = 60_000;

export interface Result {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** A person's account for a test: a home of its own, the fake driver, no other driver. */
export interface Account {
  readonly home: string;
  readonly stateDir: string;
  readonly env: Record<string, string | undefined>;
  /** Runs penstock-vram to its end. */
  vram(args: readonly string[], env?: Record<string, string>): Result;
  /** Starts it, and leaves it. */
  start(args: readonly string[], options?: SpawnOptions): ChildProcess;
  /** Puts an executable script in front of the PATH. */
  script(name: string, text: string): string;
  remove(): void;
}

export function createAccount(): Account {
  const home = mkdtempSync(join(tmpdir(), 'penstock-vram-'));
  const stateDir = join(home, 'state');
  const bin = join(home, 'bin');
  mkdirSync(bin);
  const started: ChildProcess[] = [];
  const script: Account['script'] = (name, text) => {
    const path = join(bin, name);
    writeFileSync(path, text);
    chmodSync(path, 0o755);
    return path;
  };
  // The machine's own cards are none of the fake driver's.
  script('nvidia-smi', '#!/bin/sh\nexit 9\n');
  const {
    LD_PRELOAD: _preload,
    XDG_STATE_HOME: _xdg,
    CUDA_VISIBLE_DEVICES: _visible,
    CUDA_DEVICE_ORDER: _order,
    ...inherited
  } = process.env;
  const env: Record<string, string | undefined> = {
    ...inherited,
    HOME: home,
    PATH: `${bin}:${process.env['PATH'] ?? ''}`,
    LD_LIBRARY_PATH: FAKES,
    // Each home is new, and compiles everything anew: what is tested does not depend on it.
    XDG_CACHE_HOME: join(ROOT, 'dist/native/cache'),
    PENSTOCK_VRAM_STATE_DIR: stateDir,
  };
  return {
    home,
    stateDir,
    env,
    vram: (args, more = {}) => {
      const run = spawnSync(CLI, args, {
        env: { ...env, ...more },
        encoding: 'utf8',
        timeout: LIMIT_MS,
        killSignal: 'SIGKILL',
        cwd: home,
      });
      return { status: run.status, signal: run.signal, stdout: run.stdout, stderr: run.stderr };
    },
    start: (args, options = {}) => {
      const child = spawn(CLI, args, { env, cwd: home, stdio: ['pipe', 'pipe', 'pipe'], ...options });
      started.push(child);
      return child;
    },
    script,
    remove: () => {
      for (const child of started) child.kill('SIGKILL');
      rmSync(home, { recursive: true, force: true });
    },
  };
}

/** The account's sessions as the commands see them, in this process. */
export function storeOf({ stateDir }: Account): SessionStore {
  return new SessionStore(stateDir, contextOf());
}

/** What a command is given, without terminal and driver. */
export function contextOf(disk: Disk = systemDisk): Context {
  return {
    env: {},
    uid: process.geteuid?.() ?? 0,
    clock: systemClock,
    random: systemRandom,
    disk,
    processes: createProcesses(),
    out: () => {},
    note: () => {},
    terminal: false,
    shell: undefined,
  };
}

/** A command in this process, as the account's: what it printed, and `done` or the code of its error. */
export async function call(
  account: Account,
  command: Command,
  args: readonly string[],
): Promise<{ readonly code: string; readonly out: string }> {
  let out = '';
  const shell = { pid: process.pid, handOver: () => {} };
  const context = { ...contextOf(), env: account.env, shell, out: (text: string) => void (out += text) };
  try {
    await command.run(context, args);
    return { code: 'done', out };
  } catch (err) {
    return { code: explain(err)?.code ?? String(err), out };
  }
}

/** What the fake driver calls a card that FAKE_CUDA_UUIDS does not name: "penstock-fake-" and its number. */
const fakeUuid = (index: number): string => `GPU-70656e73-746f-636b-2d66-616b652d000${index}`;

/** The cards of the fake driver, with that much memory, as nvidia-smi tells. */
export function fakeSmi(
  account: Account,
  mebibytes: readonly number[],
  { names = [], mig = 'Disabled' }: { readonly names?: readonly string[]; readonly mig?: string } = {},
): void {
  const uuids = account.env['FAKE_CUDA_UUIDS']?.split(',') ?? [];
  const lines = mebibytes.map(
    (size, index) => `${index}, ${uuids[index] ?? fakeUuid(index)}, ${mig}, ${names[index] ?? 'Test'}, ${size}`,
  );
  account.script('nvidia-smi', `#!/bin/sh\ncat <<'E'\n${lines.join('\n')}\nE\n`);
}

/** Everything a child prints, until it ends. */
export function ended(child: ChildProcess): Promise<Result> {
  let stdout = '';
  let stderr = '';
  child.stdout?.on('data', (data) => (stdout += String(data)));
  child.stderr?.on('data', (data) => (stderr += String(data)));
  return new Promise((done) => child.once('close', (status, signal) => done({ status, signal, stdout, stderr })));
}

/** The session that is made and changed while penstock-vram is killed. */
export const CRASH_REQUEST: SessionRequest = {
  name: 'job',
  limits: [{ device: '0', limit: 2 ** 20 }],
  ttlSeconds: 60,
  report: 'limit',
  managed: 'charged',
  overcommit: false,
  ephemeral: false,
};
