// SPDX-License-Identifier: Apache-2.0
import { placesOf } from '../config.ts';
import type { Command, Context } from '../context.ts';
import { VramError, explain } from '../errors.ts';
import { HELP_HELP, HELP_JSON, HELP_STATE_DIR } from '../help.ts';
import { COMMON, parseOptions } from '../options.ts';
import { release as releaseSession, sweep } from '../sessions/lifecycle.ts';
import type { Released } from '../sessions/lifecycle.ts';
import { checkName } from '../sessions/record.ts';
import { SessionStore } from '../sessions/store.ts';

const OPTIONS = {
  ...COMMON,
  force: { type: 'boolean', default: false },
  all: { type: 'boolean', default: false },
} as const;
/** As many names as fit on a command line that a person types. */
const MAX_NAMES = 256;

/** Nobody is kept from a program by it: whoever releases is told soon. */
const RELEASE_WAIT_MS = 10_000;

function releaseSessions(context: Context, argv: readonly string[]): number {
  const { values, words } = parseOptions(argv, OPTIONS, MAX_NAMES);
  if (values.all === words.length > 0)
    throw new VramError('usage', 'name the sessions to release, or say --all', { fix: 'penstock-vram release NAME' });
  const names = words.map(checkName);
  const { stateDir } = placesOf(context.env, { stateDir: values['state-dir'] });
  const store = new SessionStore(stateDir, context);
  const refused: VramError[] = [];
  const released = store.locked(() => {
    // A session that has ended meanwhile is found missing, and not in use.
    if (values.all) sweep(store, context.clock);
    const all = values.all ? store.names() : names;
    return all.flatMap((name) => {
      try {
        return [releaseSession(store, context.processes, name, values.force)];
      } catch (err) {
        const error = explain(err);
        if (error === undefined) throw err;
        refused.push(error);
        return [];
      }
    });
  }, RELEASE_WAIT_MS);
  if (values.json) context.out(`${JSON.stringify(released.map(({ name, waitingFor }) => ({ name, waitingFor })))}\n`);
  else for (const one of released) context.out(text(one));
  throwAll(refused);
  return 0;
}

/** One as it is; of several the exit status is that of the first. */
function throwAll([first, ...rest]: readonly VramError[]): void {
  if (first === undefined) return;
  if (rest.length === 0) throw first;
  const message = [first, ...rest].map((error) => error.message).join('; ');
  throw new VramError(first.code, message, first.fix === undefined ? {} : { fix: first.fix });
}

function text({ name, gone, waitingFor }: Released): string {
  if (gone) return `${name}: released\n`;
  if (waitingFor.length === 0) return `${name}: closed; goes with its last process\n`;
  return `${name}: closed; goes with ${waitingFor.length === 1 ? 'process' : 'processes'} ${waitingFor.join(', ')}\n`;
}

export const release: Command = {
  name: 'release',
  summary: 'end sessions',
  help: {
    synopsis: ['penstock-vram release [--force] NAME...', 'penstock-vram release [--force] --all'],
    description: [
      'Takes sessions away. One that processes use is refused, by their numbers.',
      'With --force such a session is closed: its processes keep what they have and get nothing more, and it goes when the last one has ended. A damaged session is taken away with --force only.',
    ],
    options: [
      ['--force', 'close a session that is in use; take a damaged one away'],
      ['--all', 'all of your sessions; those that are refused are named at the end'],
      HELP_STATE_DIR,
      HELP_JSON,
      HELP_HELP,
    ],
    examples: [['penstock-vram release team', 'its memory counts no more against the card']],
  },
  run: releaseSessions,
};
