// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { placesOf } from '../config.ts';
import type { Command, Context } from '../context.ts';
import { VramError } from '../errors.ts';
import { HELP_HELP, HELP_JSON, HELP_LIB_DIR, HELP_STATE_DIR } from '../help.ts';
import { COMMON, parseOptions } from '../options.ts';
import { NVML_OBJECT, VRAM_OBJECT, readObjects } from '../sessions/objects.ts';
import { openLocked } from '../sessions/open-session.ts';
import { checkName } from '../sessions/record.ts';
import { REQUEST_HELP, REQUEST_OPTIONS, requestOf } from '../sessions/request.ts';
import { SessionStore } from '../sessions/store.ts';
import { sessionJson } from './session-json.ts';

const OPTIONS = { ...COMMON, ...REQUEST_OPTIONS, 'lib-dir': { type: 'string' }, session: { type: 'string' } } as const;

function allocateSession(context: Context, argv: readonly string[]): number {
  const { values, words } = parseOptions(argv, OPTIONS, 1);
  if (words.length > 0 && values.session !== undefined)
    throw new VramError('usage', 'the session has two names', { fix: 'name it once' });
  if (values.limit === undefined)
    throw new VramError('usage', '--limit is required', { fix: 'penstock-vram allocate team --limit 4GiB' });
  const given = words[0] ?? values.session;
  const name = given === undefined ? undefined : checkName(given);
  const places = placesOf(context.env, { stateDir: values['state-dir'], libDir: values['lib-dir'] });
  const store = new SessionStore(places.stateDir, context);
  const request = { ...requestOf(values, places.ttl), name, ephemeral: false };
  const { session, created, warnings } = openLocked(store, context, request, readObjects(places.libDir));
  const preload = [VRAM_OBJECT, NVML_OBJECT].map((file) => join(session.dir, file)).join(':');
  if (values.json) context.out(`${JSON.stringify({ ...sessionJson(session), created, warnings, preload })}\n`);
  else {
    for (const warning of warnings) context.note(`penstock-vram: ${warning}\n`);
    context.out(`${session.record.name}\n`);
  }
  return 0;
}

export const allocate: Command = {
  name: 'allocate',
  summary: 'make a session without starting a program',
  help: {
    synopsis: ['penstock-vram allocate --limit SIZE [OPTION]... [NAME]'],
    description: [
      'Makes a session and prints its name. Programs join it by attach, or by run --session NAME. A session of that name and with the same limits that is there already is left as it is: repeating the command is safe.',
      'The session is kept for --ttl while no process uses it; then it expires. What has expired counts no more against the card, lends nothing, can be made anew by the same command, and is forgotten after a week.',
      'A program that cannot be started by attach is put into the session by the value of `preload` (see --json) in front of its LD_PRELOAD.',
    ],
    options: [
      ...REQUEST_HELP,
      ['--session NAME', 'the same as NAME'],
      HELP_STATE_DIR,
      HELP_LIB_DIR,
      HELP_JSON,
      HELP_HELP,
    ],
    examples: [
      ['penstock-vram allocate team --limit 6GiB --ttl 8h', 'six times 2^30 bytes on each GPU, for a working day'],
      ['penstock-vram allocate --limit 128MB --json', 'a name is chosen; the answer tells it, and what to preload'],
    ],
  },
  run: allocateSession,
};
