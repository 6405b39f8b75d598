// SPDX-License-Identifier: Apache-2.0
import { placesOf } from '../config.ts';
import type { Command, Context } from '../context.ts';
import { parseDuration } from '../durations.ts';
import { VramError } from '../errors.ts';
import { HELP_HELP, HELP_JSON, HELP_STATE_DIR } from '../help.ts';
import { COMMON, parseOptions } from '../options.ts';
import { overviews, tidy } from '../sessions/overview.ts';
import type { Overview } from '../sessions/overview.ts';
import { checkName } from '../sessions/record.ts';
import { SessionStore } from '../sessions/store.ts';
import { statusJson, statusText } from './status-text.ts';

const OPTIONS = {
  ...COMMON,
  watch: { type: 'boolean', default: false },
  interval: { type: 'string', default: '2s' },
} as const;
/** Clears a terminal and goes to its first line. */
const CLEAR = '\x1b[H\x1b[2J';

async function showStatus(context: Context, argv: readonly string[]): Promise<number> {
  const { values, words } = parseOptions(argv, OPTIONS, 1);
  const names = words.map(checkName);
  const everySeconds = parseDuration(values.interval, '--interval');
  const { stateDir } = placesOf(context.env, { stateDir: values['state-dir'] });
  const store = new SessionStore(stateDir, context);
  for (;;) {
    const found = look(store, context, names);
    if (values.json) context.out(`${JSON.stringify(found.map(statusJson))}\n`);
    else show(context, found, values.watch);
    if (!values.watch) return exitOf(found, names);
    await context.clock.sleep(everySeconds * 1000);
  }
}

/** Who names a session, and gets no figures of it, is told so by the exit status too. @throws VramError as `attach` does */
function exitOf(found: readonly Overview[], names: readonly string[]): number {
  const problem = found.find(({ name, problem: why }) => why !== undefined && names.includes(name))?.problem;
  if (problem !== undefined) throw problem;
  return 0;
}

function look(store: SessionStore, context: Context, names: readonly string[]): Overview[] {
  tidy(store, context.clock);
  const found = names.length === 0 ? overviews(store) : overviews(store, [...names]);
  const missing = names.find((name) => !found.some((overview) => overview.name === name));
  if (missing !== undefined)
    throw new VramError('not-found', `you have no session ${missing}`, { fix: 'penstock-vram sessions lists them' });
  return found;
}

function show(context: Context, found: readonly Overview[], watching: boolean): void {
  const clear = watching && context.terminal ? CLEAR : '';
  const text = found.map((overview) => statusText(overview, context.clock.now())).join('\n');
  context.out(clear + (text === '' ? 'you have no sessions\n' : text));
}

export const status: Command = {
  name: 'status',
  summary: 'show what sessions hold of each GPU',
  help: {
    synopsis: ['penstock-vram status [NAME] [--watch] [--json]'],
    description: [
      'Shows for each GPU of each session: the limit; what is used (allocated by living processes); what is free; what is lent (used, and credit that processes keep at hand and give back when another one needs it); how many allocations were refused; and what is unaccounted.',
      'Unaccounted is memory that no limit covers and that is only counted, all that was seen so far (what was given back stays in): nodes of CUDA graphs, and memory of other APIs (Vulkan, OpenGL) that CUDA maps. Contexts and loaded code of the driver (100 to 500 MiB for each process) are counted nowhere.',
      'A damaged session is shown with what is wrong; with NAME the exit status says so too (9, or 8 of one that is open to others).',
      'GPUs on which nothing has happened are left out of a limit that holds for each GPU.',
    ],
    options: [
      ['--watch', 'show it again and again, until interrupted; with --json a line for each time'],
      ['--interval TIME', 'how often; default: 2s'],
      HELP_STATE_DIR,
      HELP_JSON,
      HELP_HELP,
    ],
    examples: [
      ['penstock-vram status', 'all sessions'],
      ['penstock-vram status team --watch', 'one of them, every two seconds'],
    ],
  },
  run: showStatus,
};
