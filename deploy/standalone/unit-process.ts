// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createWriteStream, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What one unit may write to its log: a handler in a loop must not fill the disk. */
const LOG_LIMIT_BYTES = 8 * 1024 * 1024;
/** Part of the log that goes into a message for people. */
const TAIL_BYTES = 400;
/** A retired unit can commit nothing any more: it gets this long to end by itself. */
const KILL_AFTER_MS = 20_000;

export interface UnitProcessOptions {
  /** Folder of this unit alone, made here. */
  readonly dir: string;
  readonly token: string;
  readonly cwd: string;
  readonly env: (files: { readonly tokenFile: string; readonly readyFile: string }) => Record<string, string>;
  /** Script of the worker runtime. */
  readonly runtime: string;
  readonly onChange: () => void;
}

/** A unit as a process of this machine. It ends by itself when its standard input does: a killed parent leaves none. */
export interface UnitProcess {
  readonly pid: number | undefined;
  ready(): boolean;
  /** Exit code (negative: signal) once it has ended. */
  exit(): number | undefined;
  /** Last words on its standard error. */
  tail(): string;
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
  const tail = keepLog(child, join(dir, 'log'));
  const over = (code: number): void => {
    if (exit !== undefined) return;
    exit = code;
    clearTimeout(late);
    resolve();
    options.onChange();
  };
  child.on('error', () => over(127));
  child.on('exit', (code, signal) => over(code ?? (signal === null ? 1 : -1)));
  child.stdin?.on('error', () => {});
  const kill = (): void => void child.kill('SIGKILL');
  return {
    pid: child.pid,
    ready: () => exit === undefined && existsSync(readyFile),
    exit: () => exit,
    tail,
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

function keepLog(child: ChildProcess, file: string): () => string {
  const log = createWriteStream(file, { mode: 0o600 });
  // A full disk must not end the process that everyone's requests go through.
  log.on('error', () => {});
  let written = 0;
  let last = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    last = (last + chunk.toString('utf8')).slice(-TAIL_BYTES);
    if (written < LOG_LIMIT_BYTES) log.write(chunk);
    written += chunk.length;
  });
  child.stderr?.on('close', () => log.end());
  return () => last.trim();
}
