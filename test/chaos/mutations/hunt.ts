// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { LAST_LINE } from '../report.ts';
import type { Mutation } from './mutation.ts';

/** What a schedule says that has not come to its end. */
const BREAKAGE = /^(?:stuck|broke):/;

export interface Hunt {
  /** Of a planted bug: whether a rule was seen broken. A schedule that only stands still or throws may do so for any reason. */
  readonly found: boolean;
  /** That came to their end, the finding one included. */
  readonly schedules: number;
  /** The first violation. */
  readonly said: string;
}

export interface HuntOptions {
  readonly schedules: number;
  readonly seed: number;
  readonly parallel: number;
}

/**
 * Runs schedules with the bug planted until a rule is seen broken; where one only breaks off, the hunt goes on behind it.
 * @throws Error when the process ends without a tally
 */
export async function hunt({ name, driver }: Pick<Mutation, 'name' | 'driver'>, options: HuntOptions): Promise<Hunt> {
  let run = 0;
  for (;;) {
    const left = { ...options, seed: options.seed + run, schedules: options.schedules - run };
    const part = await chaos(['--driver', driver, '--mutation', name, '--first-only', ...flags(left)]);
    run += Math.max(1, part.schedules);
    const isRule = part.found && part.said !== '' && !BREAKAGE.test(part.said);
    if (isRule || !part.found || run >= options.schedules) return { ...part, schedules: run, found: isRule };
  }
}

/** The same with nothing planted. */
export async function sound(driver: Mutation['driver'], options: HuntOptions): Promise<Hunt> {
  return await chaos(['--driver', driver, '--first-only', ...flags(options)]);
}

function flags(options: HuntOptions): string[] {
  return (['schedules', 'seed', 'parallel'] as const).flatMap((name) => [`--${name}`, String(options[name])]);
}

async function chaos(args: readonly string[]): Promise<Hunt> {
  const main = fileURLToPath(new URL('../main.ts', import.meta.url));
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'exit');
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-2_000)));
  const lines: string[] = [];
  for await (const line of createInterface(child.stdout)) lines.push(line);
  await ended;
  const tally = LAST_LINE.exec(lines.at(-1) ?? '');
  if (tally === null) throw new Error(`chaos ${args.join(' ')} ended without a tally:\n${complaint}`);
  return { found: Number(tally[2]) > 0, schedules: Number(tally[1]), said: lines[1]?.trim() ?? '' };
}
