// SPDX-License-Identifier: Apache-2.0
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { stopping } from './child.ts';
import type { LoadTarget } from './webhook-load.ts';

/** A server of this benchmark, on a core of its own. */
export interface PinnedServer extends LoadTarget {
  stop(): Promise<void>;
}

export interface PinnedProgram {
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly core: number;
}

/** Runs a program on one core. What it prints is thrown away by the kernel: nobody's core is taken for it. */
export function startPinned({ command, env = {}, core }: PinnedProgram): PinnedServer {
  const { child, stop } = spawnPinned({ command, env, core }, 'ignore');
  return { pid: child.pid ?? 0, port: 0, stop };
}

/** The same of one that prints its port as its only line. */
export async function startTelling(program: PinnedProgram): Promise<PinnedServer> {
  const { child, stop } = spawnPinned(program, 'pipe');
  if (child.stdout === null) throw new Error('it was asked to print');
  const line = once(createInterface({ input: child.stdout }), 'line');
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`${program.command[0]} ended with ${String(code)}; BENCH_DEBUG=1 shows why`);
  });
  const [port] = (await Promise.race([line, ended])) as [string];
  // From now on its end is nobody's surprise.
  ended.catch(() => {});
  return { pid: child.pid ?? 0, port: Number(port), stop };
}

function spawnPinned(
  { command, env = {}, core }: PinnedProgram,
  stdout: 'ignore' | 'pipe',
): { readonly child: ChildProcess; readonly stop: () => Promise<void> } {
  const debug = process.env['BENCH_DEBUG'] ? 'inherit' : 'ignore';
  const child = spawn('taskset', ['-c', String(core), ...command], {
    env: { ...process.env, ...env },
    stdio: ['ignore', stdout, debug],
  });
  return { child, stop: stopping(child) };
}

/** All its threads may run on any core from now on. */
export function unpin({ pid }: PinnedServer): void {
  const run = spawnSync('taskset', ['-a', '-p', '-c', `0-${availableParallelism() - 1}`, String(pid)], {
    encoding: 'utf8',
  });
  if (run.status !== 0) throw new Error(`taskset: ${run.error?.message ?? run.stderr} (brought by hack/ensure test)`);
}

/** A certificate of the kind that the product makes for itself (ECDSA P-256), for the peer. */
export function makeCertificate(folder: string): { readonly cert: string; readonly key: string } {
  const cert = join(folder, 'peer.crt');
  const key = join(folder, 'peer.key');
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const subject = ['-subj', '/CN=peer', '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2'];
  const run = spawnSync('openssl', ['req', '-x509', ...curve, '-keyout', key, '-out', cert, ...subject], {
    encoding: 'utf8',
  });
  if (run.status !== 0) throw new Error(`openssl: ${run.error?.message ?? run.stderr} (brought by hack/ensure test)`);
  return { cert, key };
}
