// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { until } from '#test/until.ts';

/** A process of the benchmark. */
export interface BenchChild {
  readonly pid: number;
  stop(): Promise<void>;
}

export interface ChildOptions {
  /** Of the repository: `gateway/main.ts`. */
  readonly main: string;
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly ready: () => boolean | Promise<boolean>;
}

const READY_TIMEOUT_MS = 30_000;

/** BENCH_PROFILE=folder: each program leaves a CPU profile there when it ends. */
function nodeArgs(main: string): string[] {
  const folder = process.env['BENCH_PROFILE'];
  return folder === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${folder}`, `--cpu-prof-name=${nameOf(main)}`];
}

function nameOf(main: string): string {
  return `${main.replaceAll('/', '-')}.${Date.now()}.cpuprofile`;
}

/** Ends a program in order, and waits for it; it does not outlive this process either. */
export function stopping(child: ChildProcess): () => Promise<void> {
  const exited = once(child, 'exit');
  const killed = (): void => void child.kill('SIGKILL');
  process.once('exit', killed);
  return async (): Promise<void> => {
    process.off('exit', killed);
    child.kill('SIGTERM');
    await exited;
  };
}

/** Starts a program of ours and waits until it is ready. What it logs is thrown away, as formatted as in production. */
export async function startProgram({ main, env, cwd, ready }: ChildOptions): Promise<BenchChild> {
  const path = fileURLToPath(new URL(`../../${main}`, import.meta.url));
  const log = process.env['BENCH_DEBUG'] ? 'inherit' : 'ignore';
  const child = spawn(process.execPath, [...nodeArgs(main), path], {
    cwd,
    env: { ...process.env, ...env },
    stdio: ['pipe', log, log],
  });
  const stop = stopping(child);
  const ended = (): boolean => child.exitCode !== null || child.signalCode !== null;
  try {
    await until(async () => ended() || (await ready()), { what: main, timeoutMs: READY_TIMEOUT_MS });
    if (ended()) throw new Error(`${main} ended with ${child.exitCode}; BENCH_DEBUG=1 shows why`);
  } catch (err) {
    if (!ended()) await stop();
    throw err;
  }
  return { pid: child.pid ?? 0, stop };
}
