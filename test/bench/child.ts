// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** A server of the benchmark as a process of its own. */
export interface BenchChild<Ready> {
  /** The one line of JSON it printed once it served. */
  readonly ready: Ready;
  /** Ends it and waits. */
  stop(): Promise<void>;
}

/**
 * Starts `test/bench/<file>` with its settings as one JSON argument. Its log goes nowhere, as formatted as in production. It ends when
 * its standard input does, so it never outlives the benchmark.
 */
export async function startChild<Ready>(file: string, settings: unknown): Promise<BenchChild<Ready>> {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const args = [path, JSON.stringify(settings)];
  const child = spawn(process.execPath, args, {
    stdio: ['pipe', 'pipe', process.env['BENCH_DEBUG'] ? 'inherit' : 'ignore'],
  });
  const exited = once(child, 'exit');
  const [line] = (await Promise.race([once(createInterface(child.stdout), 'line'), exited])) as [unknown];
  if (typeof line !== 'string') throw new Error(`${file} ended with ${String(line)}; BENCH_DEBUG=1 shows why`);
  return {
    ready: JSON.parse(line) as Ready,
    stop: async () => {
      child.stdin.end();
      await exited;
    },
  };
}

/** The child's side: its settings, and the end of its standard input. */
export function childSettings(): unknown {
  process.stdin.on('end', () => process.exit(0)).resume();
  return JSON.parse(process.argv[2] ?? '');
}

/** The child's side: tells that it serves. */
export function announce(ready: unknown): void {
  process.stdout.write(`${JSON.stringify(ready)}\n`);
}
