// SPDX-License-Identifier: Apache-2.0
// The command line of the VRAM quota. It prepares, looks and tidies up; what programs allocate never passes through it.
import { readFileSync, writeSync } from 'node:fs';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import type { Command, Context, Shell } from './context.ts';
import { ERRORS, EXIT_BEFORE_PROGRAM, VramError, codeOf, explain } from './errors.ts';
import { commandList, commandPage } from './help.ts';
import { HelpWanted } from './options.ts';
import { createProcesses } from './processes.ts';
import { systemDisk } from './sessions/disk.ts';

/** Loaded when they are called: a program that is run waits for what `run` needs, and for nothing else. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  run: async () => (await import('./commands/run.ts')).run,
  sessions: async () => (await import('./commands/sessions.ts')).sessions,
  allocate: async () => (await import('./commands/allocate.ts')).allocate,
  attach: async () => (await import('./commands/attach.ts')).attach,
  status: async () => (await import('./commands/status.ts')).status,
  release: async () => (await import('./commands/release.ts')).release,
  metrics: async () => (await import('./commands/metrics.ts')).metrics,
  doctor: async () => (await import('./commands/doctor.ts')).doctor,
};
/** Commands that become another program: their own failures are told apart from its exit status. */
const BECOMING = new Set(['run', 'attach']);
/** As shells say it: 128 + SIGPIPE. */
const EXIT_PIPE = 141;
const SHELL_OPTION = /^--shell=([1-9][0-9]{0,9})$/;

function shellFrom(option: string | undefined): Shell | undefined {
  const pid = SHELL_OPTION.exec(option ?? '')?.[1];
  if (pid === undefined) return undefined;
  const handOver: Shell['handOver'] = (drop, objects, alive) =>
    void process.stdout.write(`${drop} ${alive} ${objects.join(':')}\n`);
  return { pid: Number(pid), handOver };
}

function version(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

function printer(stream: NodeJS.WriteStream): (text: string) => void {
  return (text) => void stream.write(text);
}

/** For a last word: what a stream holds back is lost at the exit. */
function writeNow(text: string): void {
  try {
    writeSync(process.stderr.fd, text);
  } catch {
    // There is nobody left to tell.
  }
}

const HELP_WORDS = new Set(['help', '--help', '-h']);

async function find(word: string): Promise<Command> {
  const load = Object.hasOwn(COMMANDS, word) ? COMMANDS[word] : undefined;
  if (load !== undefined) return await load();
  throw new VramError('usage', `${JSON.stringify(word)} is not a command`, { fix: 'see penstock-vram help' });
}

async function helpFor(word: string | undefined): Promise<string> {
  if (word !== undefined) return commandPage(await find(word));
  return commandList(await Promise.all(Object.values(COMMANDS).map((load) => load())));
}

async function main([word = 'help', ...rest]: readonly string[], context: Context): Promise<number> {
  if (word === 'version' || word === '--version') {
    context.out(`penstock-vram ${version()}\n`);
    return 0;
  }
  if (HELP_WORDS.has(word)) {
    context.out(await helpFor(rest[0]));
    return 0;
  }
  const command = await find(word);
  try {
    return await command.run(context, rest);
  } catch (err) {
    if (!(err instanceof HelpWanted)) throw err;
    context.out(commandPage(command));
    return 0;
  }
}

/** One sentence and what to do about it; a document for scripts. */
function report(error: VramError, json: boolean): string {
  const { code, message, fix } = error;
  if (json) return `${JSON.stringify({ error: { code, message, ...(fix === undefined ? {} : { fix }) } })}\n`;
  return `penstock-vram: ${message}${fix === undefined ? '' : `; ${fix}`}\n`;
}

function exitOf({ code }: VramError, command: string | undefined): number {
  const { exit } = ERRORS[code];
  return BECOMING.has(command ?? '') && exit < EXIT_BEFORE_PROGRAM ? EXIT_BEFORE_PROGRAM : exit;
}

function toVramError(err: unknown): VramError | undefined {
  if (codeOf(err) === 'ERR_MODULE_NOT_FOUND')
    return new VramError('not-installed', 'a package that this command needs is not installed', {
      fix: 'call npm ci --ignore-scripts in the folder of Penstock',
      cause: err,
    });
  return explain(err);
}

// The reader of a pipe may leave before the last line: the end, without a word, as other programs have it by SIGPIPE.
process.stdout.on('error', (err) => {
  if (codeOf(err) === 'EPIPE') process.exit(EXIT_PIPE);
  const { message } = explain(err) ?? err;
  writeNow(`penstock-vram: standard output cannot be written: ${message}\n`);
  process.exit(exitOf(new VramError('storage', message), argv[0]));
});
process.stderr.on('error', (err) => process.exit(codeOf(err) === 'EPIPE' ? EXIT_PIPE : ERRORS.storage.exit));
const words = process.argv.slice(2);
const shell = shellFrom(words[0]);
const argv = shell === undefined ? words : words.slice(1);
const context: Context = {
  env: process.env,
  uid: process.geteuid?.() ?? 0,
  clock: systemClock,
  random: systemRandom,
  disk: systemDisk,
  processes: createProcesses(),
  out: printer(process.stdout),
  note: printer(process.stderr),
  terminal: process.stdout.isTTY,
  shell,
};
try {
  process.exitCode = await main(argv, context);
} catch (err) {
  const error = toVramError(err);
  if (error === undefined) throw err;
  const before = argv.slice(0, argv.includes('--') ? argv.indexOf('--') : undefined);
  context.note(report(error, before.includes('--json')));
  process.exitCode = exitOf(error, argv[0]);
  // A Node that does not start says 126 and 127 too: what the shell shall say of the program is written down.
  if (shell !== undefined && process.exitCode > EXIT_BEFORE_PROGRAM) context.out(`exit ${process.exitCode}\n`);
}
