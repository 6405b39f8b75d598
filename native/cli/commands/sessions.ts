// SPDX-License-Identifier: Apache-2.0
import { placesOf } from '../config.ts';
import type { Command, Context } from '../context.ts';
import { formatDuration } from '../durations.ts';
import { HELP_HELP, HELP_JSON, HELP_STATE_DIR } from '../help.ts';
import { COMMON, parseOptions } from '../options.ts';
import { overviews, tidy } from '../sessions/overview.ts';
import type { Overview } from '../sessions/overview.ts';
import { SessionStore } from '../sessions/store.ts';
import { formatTable } from '../table.ts';
import { limitsText, sessionJson } from './session-json.ts';

const HEAD = ['NAME', 'STATE', 'LIMIT', ' PROCESSES', 'EXPIRES'];

function listSessions(context: Context, argv: readonly string[]): number {
  const { values } = parseOptions(argv, COMMON);
  const { stateDir } = placesOf(context.env, { stateDir: values['state-dir'] });
  const store = new SessionStore(stateDir, context);
  tidy(store, context.clock);
  const found = overviews(store);
  if (values.json) context.out(`${JSON.stringify(found.map(asJson))}\n`);
  else if (found.length === 0) context.note('penstock-vram: you have no sessions\n');
  else
    context.out(
      formatTable(
        HEAD,
        found.map((overview) => asRow(overview, context.clock.now())),
      ),
    );
  return 0;
}

function asJson({ name, session, ledger, problem }: Overview): unknown {
  if (problem !== undefined) return { name, state: 'damaged', problem: problem.message };
  return { ...sessionJson(session), processes: ledger.processes.filter(({ alive }) => alive).length };
}

function asRow({ name, session, ledger, problem }: Overview, now: number): string[] {
  if (problem !== undefined) return [name, 'damaged', problem.message];
  return [
    name,
    session.control.state,
    limitsText(session),
    String(ledger.processes.filter(({ alive }) => alive).length),
    expiryText(session, now),
  ];
}

/** When a session ends, as a person says it. */
export function expiryText({ record, control }: NonNullable<Overview['session']>, now: number): string {
  if (control.state !== 'active') return control.state;
  if (record.ephemeral) return 'with its processes';
  if (record.idleUntilMs === undefined) return 'not while in use';
  return `in ${formatDuration((record.idleUntilMs - now) / 1000)}`;
}

export const sessions: Command = {
  name: 'sessions',
  summary: 'list your sessions',
  help: {
    synopsis: ['penstock-vram sessions [--json]'],
    description: [
      'Lists your sessions, with state, limits, the number of processes that hold GPU memory, and when each ends. Sessions are private: those of other users are not shown and cannot be touched.',
      'States: active; expired (no process used it for its time; allocate or run make it anew); closed (released with --force, processes live on without new credit); damaged (its files are not what they should be; release --force takes it away).',
    ],
    options: [HELP_STATE_DIR, HELP_JSON, HELP_HELP],
    examples: [['penstock-vram sessions', 'all of them']],
  },
  run: listSessions,
};
