// SPDX-License-Identifier: Apache-2.0
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { startChild } from '#test/servers/child.ts';
import type { Child } from '#test/servers/child.ts';
import { writeWhole } from './settings.ts';

/** A process of a schedule that can be killed, stopped for a while, or ended in order. */
export interface ChildNode {
  readonly name: string;
  running(): boolean;
  kill(): Promise<void>;
  /** SIGTERM; nobody waits for its end. */
  end(): void;
  /** SIGSTOP now, SIGCONT later, if it still lives. */
  freeze(ms: number): Promise<void>;
  /** What it printed. */
  log(): string;
}

export interface ChildNodeOptions {
  readonly name: string;
  /** Path of its main module. */
  readonly main: string;
  readonly settings: unknown;
  readonly dir: string;
}

export async function startChildNode({ name, main, settings, dir }: ChildNodeOptions): Promise<ChildNode> {
  const settingsFile = `${dir}/${name}.json`;
  writeWhole(settingsFile, settings);
  const child = await startChild({
    command: process.execPath,
    args: [main, settingsFile],
    // Half of what a start costs; a schedule has a dozen.
    env: { ...process.env, NODE_COMPILE_CACHE: join(tmpdir(), 'penstock-chaos-compiled') },
    logFile: `${dir}/${name}.log`,
  });
  return {
    name,
    running: () => child.running(),
    kill: () => child.end('SIGKILL'),
    end: () => void child.end('SIGTERM'),
    freeze: (ms) => freeze(child, ms),
    log: () => child.log(),
  };
}

async function freeze(child: Child, ms: number): Promise<void> {
  if (!child.running()) return;
  process.kill(child.pid, 'SIGSTOP');
  await delay(ms);
  if (child.running()) process.kill(child.pid, 'SIGCONT');
}
