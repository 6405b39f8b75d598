// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, statSync } from 'node:fs';

export interface ChildOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  /** Both output streams go here. */
  readonly logFile: string;
  /** Removed when the test process dies without a chance to tidy up. */
  readonly removeOnDeath?: string;
}

export interface Child {
  readonly pid: number;
  running(): boolean;
  /** Its exit code once it has ended; null when a signal ended it. */
  readonly exited: Promise<number | null>;
  /** Sends the signal and waits for the end. */
  end(signal: NodeJS.Signals): Promise<void>;
  /** The last lines of what it printed. */
  log(): string;
}

const logTailBytes = 4_000;

/**
 * Starts a server process in a group of its own (Ctrl-C at the terminal reaches the test runner, which then stops it in
 * order) and a guard that ends it, by pid, when this process dies: the guard reads a pipe that only this process holds.
 */
export async function startChild(options: ChildOptions): Promise<Child> {
  const log = openSync(options.logFile, 'a');
  const child = spawn(options.command, options.args, {
    stdio: ['ignore', log, log],
    env: options.env ?? process.env,
    detached: true,
  });
  closeSync(log);
  await once(child, 'spawn');
  const pid = child.pid as number;
  const guard = startGuard(pid, options.removeOnDeath);
  const exited = new Promise<number | null>((resolve) => {
    child.once('exit', (code) => {
      // First the guard: the pid is free from here on, and may soon be somebody else's.
      guard.kill('SIGKILL');
      resolve(code);
    });
  });
  child.unref();
  const running = (): boolean => child.exitCode === null && child.signalCode === null;
  return {
    pid,
    running,
    exited,
    end: async (signal) => {
      if (running()) child.kill(signal);
      await exited;
    },
    log: () => tail(options.logFile),
  };
}

function startGuard(pid: number, folder: string | undefined): ChildProcess {
  const script = 'cat >/dev/null; kill -9 "$1" 2>/dev/null; [ -z "$2" ] || rm -rf "$2"';
  const guard = spawn('sh', ['-c', script, 'guard', String(pid), folder ?? ''], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  });
  guard.on('error', () => {}); // no shell, no guard: the test itself still stops what it started
  guard.stdin?.on('error', () => {}); // EPIPE when the guard goes first
  guard.unref();
  (guard.stdin as unknown as { unref?: () => void }).unref?.();
  return guard;
}

function tail(path: string): string {
  const { size } = statSync(path);
  return readFileSync(path, 'utf8').slice(-Math.min(size, logTailBytes));
}
