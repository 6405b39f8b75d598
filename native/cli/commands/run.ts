// SPDX-License-Identifier: Apache-2.0
import { placesOf } from '../config.ts';
import type { Command, Context } from '../context.ts';
import { VramError } from '../errors.ts';
import { HELP_HELP, HELP_LIB_DIR, HELP_STATE_DIR } from '../help.ts';
import { COMMON, parseOptions, splitCommand } from '../options.ts';
import { aliveOf } from '../sessions/alive.ts';
import { addRun } from '../sessions/lifecycle.ts';
import { readObjects } from '../sessions/objects.ts';
import { openLocked } from '../sessions/open-session.ts';
import type { OpenedSession } from '../sessions/open-session.ts';
import { checkName } from '../sessions/record.ts';
import { REQUEST_HELP, REQUEST_OPTIONS, requestOf } from '../sessions/request.ts';
import { SessionStore } from '../sessions/store.ts';
import { EXIT_OF_PROGRAM } from './exit-of-program.ts';
import { checkNotNested, checkProgram, runOf, objectsOf, shellOf, warnNotCovered } from './start-program.ts';

const OPTIONS = {
  ...COMMON,
  ...REQUEST_OPTIONS,
  'lib-dir': { type: 'string' },
  session: { type: 'string' },
} as const;

function runProgram(context: Context, argv: readonly string[]): number {
  const { own, command, dropped } = splitCommand(argv, OPTIONS);
  const { values } = parseOptions(own, OPTIONS);
  if (command.length === 0)
    throw new VramError('usage', 'no program is named', { fix: 'penstock-vram run --limit 4GiB -- python train.py' });
  const name = values.session === undefined ? undefined : checkName(values.session);
  const places = placesOf(context.env, { stateDir: values['state-dir'], libDir: values['lib-dir'] });
  const shell = shellOf(context);
  checkProgram(context, command);
  checkNotNested(context, places.stateDir, name);
  const store = new SessionStore(places.stateDir, context);
  const run = runOf(context, shell);
  const join = (opened: OpenedSession): void => {
    if (!opened.created) addRun(store, opened.session, run);
  };
  const { session, warnings } = openOrJoin();
  for (const warning of warnings) context.note(`penstock-vram: ${warning}\n`);
  warnNotCovered(context, command);
  shell.handOver(dropped + 1, objectsOf(context, session), aliveOf(session.dir));
  return 0;

  function openOrJoin(): OpenedSession {
    if (values.limit === undefined) {
      if (name === undefined || !store.exists(name))
        throw new VramError('usage', '--limit is required', {
          fix: 'penstock-vram run --limit 4GiB -- python train.py',
        });
      return store.locked(() => {
        const opened = { session: store.open(name), created: false, warnings: [] };
        join(opened);
        return opened;
      });
    }
    const request = { ...requestOf(values, places.ttl), name, ephemeral: name === undefined, run };
    return openLocked(store, context, request, readObjects(places.libDir), join);
  }
}

export const run: Command = {
  name: 'run',
  summary: 'run a program inside a share of GPU memory',
  help: {
    synopsis: [
      'penstock-vram run --limit SIZE [OPTION]... [--] PROGRAM [ARGUMENT]...',
      'penstock-vram run --limit DEVICE=SIZE [--limit DEVICE=SIZE]... [OPTION]... [--] PROGRAM [ARGUMENT]...',
      'penstock-vram run --session NAME [OPTION]... [--] PROGRAM [ARGUMENT]...',
    ],
    description: [
      'Makes a session with these limits and becomes PROGRAM. The program and all its children share the limits: an allocation that does not fit is refused with the ordinary out-of-memory error of its API, and the program goes on. What CUDA and NVML report as total and free memory is the share.',
      'PROGRAM takes the place of penstock-vram: process number, terminal, signals and exit status are its own, under nohup, time and job control too. LD_PRELOAD gets the objects of the session in front of what it held.',
      'Without --session the session ends with its last process. With --session it gets a name, and programs that are started under the same name share it; it is kept for --ttl when no process uses it.',
      'Who drops LD_PRELOAD drops the limit: penstock-vram doctor says whether a program would be covered.',
    ],
    options: [
      ...REQUEST_HELP,
      [
        '--session NAME',
        'join the session of that name, or make it; --limit is then needed only to make it, and must be the same to join; its other options stay as they are',
      ],
      HELP_STATE_DIR,
      HELP_LIB_DIR,
      ['--json', 'errors of penstock-vram itself as JSON on standard error'],
      HELP_HELP,
    ],
    exit: EXIT_OF_PROGRAM,
    examples: [
      ['penstock-vram run --limit 4GiB -- python train.py', 'at most 4 x 2^30 bytes on each GPU'],
      [
        'penstock-vram run --limit 0=8GiB --limit 1=2GiB -- ./server',
        'two GPUs with separate limits; any other one refuses',
      ],
      [
        'penstock-vram run --limit 6GB --session team -- jupyter lab',
        'a named session, which others of your programs can join',
      ],
    ],
  },
  run: runProgram,
};
