// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import type { ChildProcess, IOType } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';

/**
 * A child that never outlives this process, even when that is killed with SIGKILL and even when the child spins in native code: it
 * runs in a process group of its own together with a shell that reads from a pipe held by this process. When the pipe ends, the shell
 * kills the group, grandchildren included. (Linux' PR_SET_PDEATHSIG would reach the child only, and Node can't set it.)
 */
export interface GuardedChild {
  /** Descriptors 3 and 4 of the child, when asked for: our writing and our reading end. */
  readonly toChild: Writable | null;
  readonly fromChild: Readable | null;
  /** Why it ended, for people. Resolves once. */
  readonly ended: Promise<string>;
  /** Asks the whole group to end, then kills it; resolves when the child is gone. Idempotent. */
  stop(graceMs: number): Promise<void>;
}

export interface GuardOptions {
  readonly command: readonly [string, ...string[]];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Gives the child two pipes, on descriptors 3 (it reads) and 4 (it writes). */
  readonly pipes: boolean;
}

/**
 * "$@" is the command: no word of it is read by the shell. TERM must not end the shell before its child; the no-op trap, unlike an
 * ignored signal, is not inherited by the child. `read` ends when fd 5 does, that is when the unit's process is gone.
 */
const GUARD = `
trap : TERM
( exec 5<&-; exec "$@" ) &
child=$!
( exec 3<&- 4>&-; trap '' TERM; read -r _ <&5; kill -KILL 0 ) &
exec 3<&- 4>&- 5<&-
while :; do
  wait "$child"; status=$?
  kill -0 "$child" 2>/dev/null || exit "$status"
done`;

const KILL_SETTLE_MS = 5_000;

export function spawnGuarded({ command, env, cwd, pipes }: GuardOptions): GuardedChild {
  const pipe: IOType = pipes ? 'pipe' : 'ignore';
  // Standard output goes to our standard error: nothing that user code prints may look like ours.
  const child = spawn('/bin/sh', ['-c', GUARD, 'penstock-guard', ...command], {
    env,
    cwd,
    detached: true,
    stdio: ['ignore', 2, 2, pipe, pipe, 'pipe'],
  });
  const ended = new Promise<string>((resolve) => {
    child.once('error', (err) => resolve(`${command[0]} could not be started: ${err.message}`));
    child.once('exit', (code, signal) => {
      // Whoever of the group is left (the guard's reader, grandchildren) goes with the child.
      signalGroup(child, 'SIGKILL');
      resolve(`${command[0]} ${describeExit(code, signal)}`);
    });
  });
  const [toChild, fromChild] = pipes ? [child.stdio[3] as Writable, child.stdio[4] as Readable] : [null, null];
  for (const stream of child.stdio.slice(3)) stream?.on('error', () => undefined);
  return {
    toChild,
    fromChild,
    ended,
    stop: async (graceMs) => {
      if (graceMs > 0) signalGroup(child, 'SIGTERM');
      if (!(await within(ended, graceMs))) signalGroup(child, 'SIGKILL');
      if (!(await within(ended, KILL_SETTLE_MS))) throw new Error(`${command[0]} cannot be ended`);
    },
  };
}

/** Standard input is the pipe; TERM is for the unit, which then ends in order, and with it the pipe. */
const OWN_GUARD = `trap '' TERM INT; read -r _; kill -KILL 0`;

/**
 * Ends everything in this process's group when this process ends, however it does: what handlers in threads have started. Only where
 * this process leads the group (its parent started it so); else the group is somebody else's too.
 */
export function guardOwnGroup(): void {
  if (!leadsGroup()) return;
  const guard = spawn('/bin/sh', ['-c', OWN_GUARD], { stdio: ['pipe', 'ignore', 'ignore'], env: {} });
  guard.on('error', () => undefined);
  guard.unref();
  if (guard.stdin instanceof Socket) guard.stdin.unref();
}

/** proc(5): pid, (name), state, parent, group. The name may hold anything, so the fields count from its last parenthesis. */
function leadsGroup(): boolean {
  try {
    const stat = readFileSync('/proc/self/stat', 'utf8');
    const [, , group] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return Number(group) === process.pid;
  } catch {
    return false;
  }
}

function describeExit(code: number | null, signal: NodeJS.Signals | null): string {
  if (signal !== null) return `was ended by ${signal}`;
  // The shell's way to say that there is no such program, or no right to run it.
  if (code === 127 || code === 126) return 'was not found or cannot be run';
  // … and that it was ended by signal n.
  if (code !== null && code > 128) return `was ended by signal ${code - 128}`;
  return `ended with code ${code}`;
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // ESRCH: nobody of the group is left.
  }
}

async function within(ended: Promise<string>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<false>((resolve) => {
    timer = setTimeout(() => resolve(false), ms);
  });
  return Promise.race([ended.then(() => true), late]).finally(() => clearTimeout(timer));
}
