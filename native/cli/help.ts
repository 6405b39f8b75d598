// SPDX-License-Identifier: Apache-2.0
import type { Command, HelpPage } from './context.ts';
import { ERRORS, EXIT_BEFORE_PROGRAM } from './errors.ts';

const WIDTH = 100;
const INDENT = '       ';

/** Options that several commands share, said once. */
export const HELP_STATE_DIR = [
  '--state-dir DIR',
  'the folder of your sessions; default: $PENSTOCK_VRAM_STATE_DIR, else penstock/vram in $XDG_STATE_HOME or ~/.local/state. It is made with mode 0700, must be yours, and must not lie on a noexec mount',
] as const;
export const HELP_LIB_DIR = [
  '--lib-dir DIR',
  'the folder of libpenstock_vram.so; default: $PENSTOCK_VRAM_LIB_DIR, else dist/native/lib of this installation',
] as const;
export const HELP_JSON = ['--json', 'one JSON document instead of text; errors too, on standard error'] as const;
export const HELP_HELP = ['-h, --help', 'this page'] as const;
export const HELP_SIZES =
  'Sizes: 4GiB, 512MiB and 64KiB are powers of 1024 (4GiB = 4 x 2^30 bytes), as are 4Gi and 512Mi. 4GB, 128MB and 64kB are powers of 1000 (128MB = 128 x 10^6 bytes). Upper and lower case are the same, 1.5GiB is fine, a plain number is bytes. A single letter (4G) is refused: it means both.';
export const HELP_TIMES = 'Times: 90 or 90s, 15m, 2h, 7d.';

export function commandList(commands: readonly Command[]): string {
  const width = Math.max(...commands.map(({ name }) => name.length)) + 2;
  const lines = commands.map(({ name, summary }) => `  ${name.padEnd(width)}${summary}`);
  return `penstock-vram: a share of a GPU's memory for a program and its children

usage: penstock-vram COMMAND [OPTION]... [-- PROGRAM [ARGUMENT]...]

${lines.join('\n')}
  ${'version'.padEnd(width)}the version
  ${'help'.padEnd(width)}this list; penstock-vram help COMMAND (or COMMAND --help) for its page

The usual case: penstock-vram run --limit 4GiB -- python train.py
Limits hold for programs that cooperate; docs/gpu-sharing.md says what that covers and what it does not.
`;
}

/** A page in the manner of man(1). */
export function commandPage({ name, summary, help }: Command): string {
  const sections = [
    section('NAME', [`penstock-vram ${name} - ${summary}`]),
    section('SYNOPSIS', help.synopsis),
    section('DESCRIPTION', help.description, true),
    pairs('OPTIONS', help.options),
    section('EXIT STATUS', exitLines(help), false),
    pairs('EXAMPLES', help.examples),
  ];
  return `${sections.join('\n\n')}\n`;
}

function section(title: string, paragraphs: readonly string[], spaced = false): string {
  return `${title}\n${paragraphs.map((text) => fill(text, INDENT)).join(spaced ? '\n\n' : '\n')}`;
}

function pairs(title: string, items: readonly (readonly [string, string])[]): string {
  const lines = items.map(([left, right]) => `${INDENT}${left}\n${fill(right, `${INDENT}    `)}`);
  return `${title}\n${lines.join('\n\n')}`;
}

function exitLines({ exit }: HelpPage): string[] {
  if (exit !== undefined) return [...exit];
  const rows = Object.entries(ERRORS).filter(([, kind]) => kind.exit < EXIT_BEFORE_PROGRAM);
  return ['0    done', ...rows.map(([code, { exit, title }]) => `${String(exit).padEnd(4)} ${title} (${code})`)];
}

/** Breaks a paragraph at blanks, so that no line is wider than a terminal as a rule. */
function fill(text: string, indent: string): string {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && indent.length + line.length + 1 + word.length > WIDTH) {
      lines.push(indent + line);
      line = word;
    } else line = line === '' ? word : `${line} ${word}`;
  }
  return [...lines, indent + line].join('\n');
}
