// SPDX-License-Identifier: Apache-2.0
import { placesOf } from '../config.ts';
import type { Command, Context } from '../context.ts';
import { HELP_HELP, HELP_STATE_DIR } from '../help.ts';
import { COMMON, parseOptions } from '../options.ts';
import { overviews, tidy } from '../sessions/overview.ts';
import { SessionStore } from '../sessions/store.ts';

const { json: _json, ...OPTIONS } = COMMON;

async function printMetrics(context: Context, argv: readonly string[]): Promise<number> {
  const { values } = parseOptions(argv, OPTIONS);
  const { stateDir } = placesOf(context.env, { stateDir: values['state-dir'] });
  const store = new SessionStore(stateDir, context);
  tidy(store, context.clock);
  // The only command that needs a package: the others work in a clone without any.
  const { metricsText } = await import('./metrics-text.ts');
  context.out(await metricsText(overviews(store)));
  return 0;
}

export const metrics: Command = {
  name: 'metrics',
  summary: 'print the figures of all sessions for Prometheus',
  help: {
    synopsis: ['penstock-vram metrics'],
    description: [
      'Prints the figures of status in the text format of Prometheus, labelled by session and device. Nothing listens: write them into the folder of the node exporter from a timer, by a temporary file and a rename.',
    ],
    options: [HELP_STATE_DIR, HELP_HELP],
    examples: [
      [
        'penstock-vram metrics >vram.prom.new && mv vram.prom.new vram.prom',
        "in the folder that the node exporter's --collector.textfile.directory names",
      ],
    ],
  },
  run: printMetrics,
};
