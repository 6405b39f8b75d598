// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { keepLog } from './unit-log.ts';

/** A retired unit can commit nothing any more: it gets this long to end by itself. */
const KILL_AFTER_MS = 20_000;

/** How long the end of its log is waited for once a unit has ended. */
const LAST_WORDS_MS = 500;
/** As shells say it: there is no such program. */
const EXIT_NOT_STARTED = 127;

export interface UnitProcessOptions {
  /** Folder of this unit alone, made here. */
  readonly dir: string;
  readonly token: string;
  readonly cwd: string;
  readonly env: (files: { readonly tokenFile: string; readonly readyFile: string }) => Record<string, string>;
  /** Script of the worker runtime. */
  readonly runtime: string;
  readonly onChange: () => void;
  /** A line that its handler has printed. */
  readonly onPrint: (line: string) => void;
}

/** A unit as a process of this machine. It ends by itself when its standard input does: a killed parent leaves none. */
export interface UnitProcess {
  readonly pid: number | undefined;
  ready(): boolean;
  /** Exit code (negative: signal) once it has ended. */
  exit(): number | undefined;
  /** Why it ended, as far as its log says so. */
  lastWords(): string;
  /** SIGTERM, and SIGKILL later. */
  end(): void;
  kill(): void;
  readonly ended: Promise<void>;
  removeFiles(): void;
}

export function startUnitProcess(options: UnitProcessOptions): UnitProcess {
  const { dir } = options;
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const tokenFile = join(dir, 'token');
  const readyFile = join(dir, 'ready');
  writeFileSync(tokenFile, options.token, { mode: 0o600 });
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', options.runtime], {
    cwd: options.cwd,
    env: options.env({ tokenFile, readyFile }),
    // Leads a group of its own: the unit then sees to it that nothing that its handlers start outlives it.
    detached: true,
    stdio: ['pipe', 'ignore', 'pipe'],
  });
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  let exit: number | undefined;
  let late: NodeJS.Timeout | undefined;
  const log = keepLog(child.stderr, join(dir, 'log'), options.onPrint);
  let failure: string | undefined;
  const over = (code: number): void => {
    if (exit !== undefined) return;
    exit = code;
    clearTimeout(late);
    resolve();
    options.onChange();
  };
  child.on('error', (err) => {
    failure = `it cannot be started in ${options.cwd}: ${err.message}`;
    over(EXIT_NOT_STARTED);
  });
  child.on('exit', (code, signal) => {
    clearTimeout(late);
    const exitCode = code ?? (signal === null ? 1 : -1);
    // Its last words may still be in the pipe, which something that it has started may hold open for ever.
    child.on('close', () => over(exitCode));
    late = setTimeout(() => over(exitCode), LAST_WORDS_MS);
  });
  child.stdin?.on('error', () => {});
  const kill = (): void => void child.kill('SIGKILL');
  return {
    pid: child.pid,
    ready: () => exit === undefined && existsSync(readyFile),
    exit: () => exit,
    lastWords: () => failure ?? log.lastWords(),
    end: () => {
      if (exit !== undefined || late !== undefined) return;
      child.kill('SIGTERM');
      late = setTimeout(kill, KILL_AFTER_MS);
    },
    kill,
    ended,
    removeFiles: () => rmSync(dir, { recursive: true, force: true }),
  };
}
