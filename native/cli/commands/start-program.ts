// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import type { Context, Shell } from '../context.ts';
import { VramError } from '../errors.ts';
import { inspectCommand } from '../doctor/command.ts';
import { findProgram } from '../find-program.ts';
import { splitPreload } from '../processes.ts';
import { NVML_OBJECT, VRAM_OBJECT } from '../sessions/objects.ts';
import type { Run } from '../sessions/record.ts';
import type { Session } from '../sessions/store.ts';

/** The shell that waits to become the program. @throws VramError `usage` where the wrapper was left out */
export function shellOf({ shell }: Context): Shell {
  if (shell !== undefined) return shell;
  throw new VramError('usage', 'run and attach need the penstock-vram script around them', {
    fix: 'call native/cli/penstock-vram',
  });
}

/** @throws VramError `storage` */
export function runOf({ processes, clock }: Context, { pid }: Shell): Run {
  const id = processes.identify(pid);
  if (id === undefined) throw new VramError('storage', `/proc tells nothing of process ${pid}`, { fix: 'mount /proc' });
  return { ...id, sinceMs: clock.now() };
}

/**
 * A program inside one session cannot be put into another one: its own limit would hold and the outer one would not.
 * @throws VramError `nested`
 */
export function checkNotNested({ env }: Context, stateDir: string, name: string | undefined): void {
  const sessions = `${join(stateDir, 'sessions')}/`;
  const inside = splitPreload(env['LD_PRELOAD']).find((path) => path.endsWith(`/${VRAM_OBJECT}`));
  if (inside === undefined) return;
  const outer = inside.startsWith(sessions) ? inside.slice(sessions.length).split('/')[0] : undefined;
  if (outer !== undefined && outer === name) return;
  throw new VramError('nested', `this shell is inside session ${outer ?? inside} already`, {
    fix: 'programs that are started here are covered by it: start them as they are',
  });
}

/** 127 and 126 as shells say it, before there is a session. @throws VramError `no-command` or `not-executable` */
export function checkProgram({ env }: Context, command: readonly string[]): void {
  const [word] = command;
  if (word !== undefined) findProgram(word, env['PATH']);
}

/** Findings that speak against a program which will start none the less. What cannot start says so itself. */
const RUNS_UNCOVERED = new Set(['static', 'musl', 'architecture', 'setuid', 'launcher', 'environment']);

/** One line about a program that will run without the limit, as far as its file tells. */
export function warnNotCovered({ env, uid, note }: Context, command: readonly string[]): void {
  if (command.length === 0) return;
  const gids = [process.getegid?.() ?? 0, ...(process.getgroups?.() ?? [])];
  const found = inspectCommand(command, { uid, gids, path: env['PATH'], quick: true });
  const against = found.find(({ check, result }) => result === 'bad' && RUNS_UNCOVERED.has(check));
  if (against !== undefined) note(`penstock-vram: the limit will not hold: ${against.detail}\n`);
}

/** The objects of a session that go in front of LD_PRELOAD; none that is there already. */
export function objectsOf({ env }: Context, { dir }: Session): string[] {
  const there = new Set(splitPreload(env['LD_PRELOAD']));
  return [VRAM_OBJECT, NVML_OBJECT].map((name) => join(dir, name)).filter((path) => !there.has(path));
}
