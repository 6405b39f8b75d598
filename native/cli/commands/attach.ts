// SPDX-License-Identifier: Apache-2.0
import { placesOf } from '../config.ts';
import type { Command, Context } from '../context.ts';
import { VramError } from '../errors.ts';
import { HELP_HELP, HELP_STATE_DIR } from '../help.ts';
import { COMMON, parseOptions, splitCommand } from '../options.ts';
import { aliveOf } from '../sessions/alive.ts';
import { addRun, sweep } from '../sessions/lifecycle.ts';
import { checkName } from '../sessions/record.ts';
import { SessionStore } from '../sessions/store.ts';
import { EXIT_OF_PROGRAM } from './exit-of-program.ts';
import { checkNotNested, checkProgram, runOf, objectsOf, shellOf, warnNotCovered } from './start-program.ts';

function attachProgram(context: Context, argv: readonly string[]): number {
  const { own, command, dropped } = splitCommand(argv, COMMON, 1);
  const { values, words } = parseOptions(own, COMMON, 1);
  const [word] = words;
  if (word === undefined)
    throw new VramError('usage', 'no session is named', { fix: 'penstock-vram attach NAME -- python train.py' });
  const name = checkName(word);
  const { stateDir } = placesOf(context.env, { stateDir: values['state-dir'] });
  const shell = shellOf(context);
  checkProgram(context, command);
  checkNotNested(context, stateDir, name);
  const store = new SessionStore(stateDir, context);
  const run = runOf(context, shell);
  const session = store.locked(() => {
    sweep(store, context.clock);
    const found = store.open(name);
    addRun(store, found, run);
    return found;
  });
  warnNotCovered(context, command);
  shell.handOver(dropped + 1, objectsOf(context, session), aliveOf(session.dir));
  return 0;
}

export const attach: Command = {
  name: 'attach',
  summary: 'run a program, or a shell, inside a session that is there',
  help: {
    synopsis: ['penstock-vram attach [OPTION]... NAME [--] [PROGRAM [ARGUMENT]...]'],
    description: [
      'Becomes PROGRAM inside session NAME, as run does; all programs of a session share its limits. Without PROGRAM it becomes your shell ($SHELL), and what you start there is covered.',
      'A process that runs already cannot be put into a session: the loader reads LD_PRELOAD when a program starts.',
    ],
    options: [HELP_STATE_DIR, ['--json', 'errors of penstock-vram itself as JSON on standard error'], HELP_HELP],
    exit: EXIT_OF_PROGRAM,
    examples: [
      ['penstock-vram attach team -- python infer.py', 'a second program in the share of the first'],
      ['penstock-vram attach team', 'a shell whose programs share the limits'],
    ],
  },
  run: attachProgram,
};
