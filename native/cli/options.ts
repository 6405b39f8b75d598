// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util';
import type { ParseArgsOptionsConfig } from 'node:util';
import { VramError } from './errors.ts';

/** Options that every command takes. */
export const COMMON = {
  'state-dir': { type: 'string' },
  json: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const satisfies ParseArgsOptionsConfig;

/** Thrown where a command finds `--help` among its own words: those of a program are not ours to read. */
export class HelpWanted extends Error {}

/** Options of a command, and the words that belong to none. @throws HelpWanted, or VramError `usage` */
export function parseOptions<const T extends ParseArgsOptionsConfig>(
  argv: readonly string[],
  options: T,
  maxWords = 0,
) {
  try {
    const { values, positionals } = parseArgs({ args: [...argv], options, strict: true, allowPositionals: true });
    if ('help' in values && values.help === true) throw new HelpWanted();
    if (positionals.length <= maxWords) return { values, words: positionals };
    throw new VramError('usage', `${JSON.stringify(positionals[maxWords])} is one word too many`, SEE_HELP);
  } catch (err) {
    if (err instanceof VramError || err instanceof HelpWanted) throw err;
    const [, option] = WITHOUT_VALUE.exec(err instanceof Error ? err.message : '') ?? [];
    if (option !== undefined)
      throw new VramError('usage', `--${option} wants ${VALUES[option] ?? 'a value'}`, { ...SEE_HELP, cause: err });
    // Node's sentence, without its advice on how to write a word that begins with a dash.
    const [sentence = 'the options cannot be read'] = (err instanceof Error ? err.message : '').split('. ');
    throw new VramError('usage', sentence, { ...SEE_HELP, cause: err });
  }
}

/** Node's sentences, of which the second has three lines. */
const WITHOUT_VALUE = /^Option '(?:-\w, )?--([a-z-]+)(?: <value>)?' argument (?:missing|is ambiguous)/;
const VALUES: Readonly<Record<string, string>> = {
  limit: 'a size',
  device: 'the number or UUID of a GPU',
  ttl: 'a time',
  session: 'a name',
  'state-dir': 'a folder',
  'lib-dir': 'a folder',
};
const SEE_HELP = { fix: 'see penstock-vram COMMAND --help' };

/**
 * Splits the words of `run` and `attach`: the command begins behind `--`, or with the first word that belongs to no option
 * (of which `words` come before).
 */
export function splitCommand(
  argv: readonly string[],
  options: ParseArgsOptionsConfig,
  words = 0,
): { readonly own: string[]; readonly command: string[]; readonly dropped: number } {
  const { tokens } = parseArgs({ args: [...argv], options, strict: false, allowPositionals: true, tokens: true });
  let left = words;
  for (const token of tokens) {
    if (token.kind === 'option-terminator') return cut(argv, token.index, 1);
    if (token.kind !== 'positional') continue;
    if (left === 0) return cut(argv, token.index, 0);
    left -= 1;
  }
  return cut(argv, argv.length, 0);
}

function cut(argv: readonly string[], at: number, skip: number) {
  return { own: argv.slice(0, at), command: argv.slice(at + skip), dropped: at + skip };
}
