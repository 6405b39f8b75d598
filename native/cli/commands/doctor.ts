// SPDX-License-Identifier: Apache-2.0
import { placesOf } from '../config.ts';
import type { Command, Context } from '../context.ts';
import { inspectCommand } from '../doctor/command.ts';
import { verdictOf } from '../doctor/finding.ts';
import type { Finding, Verdict } from '../doctor/finding.ts';
import { inspectCards, inspectInstallation } from '../doctor/installation.ts';
import { inspectProcess } from '../doctor/process.ts';
import { ERRORS, VramError } from '../errors.ts';
import { HELP_HELP, HELP_JSON, HELP_LIB_DIR, HELP_STATE_DIR } from '../help.ts';
import { COMMON, parseOptions, splitCommand } from '../options.ts';

const OPTIONS = { ...COMMON, 'lib-dir': { type: 'string' } } as const;
/** Nobody means a program by it. */
const NUMBER = /^[0-9]+$/;
const PID = /^[1-9][0-9]{0,9}$/;

function examine(context: Context, argv: readonly string[]): number {
  const { own, command } = splitCommand(argv, OPTIONS);
  const { values } = parseOptions(own, OPTIONS);
  const places = placesOf(context.env, { stateDir: values['state-dir'], libDir: values['lib-dir'] });
  const [word, ...rest] = command;
  const isPid = word !== undefined && rest.length === 0 && PID.test(word) && !argv.includes('--');
  if (rest.length === 0 && !isPid && NUMBER.test(word ?? '') && !argv.includes('--'))
    throw new VramError('usage', `${word} is not the number of a process`, {
      fix: `of a program of that name say doctor -- ${word}`,
    });
  const findings = isPid
    ? inspectProcess(Number(word))
    : [...inspectInstallation(places, context.env), ...inspectNamed(context, command)];
  const covered = verdictOf(findings);
  if (values.json) context.out(`${JSON.stringify({ covered, findings })}\n`);
  else context.out(report(subject(word, isPid, command), sentenceOf(covered, isPid), findings));
  // A process that could not be looked into: nothing speaks for it either.
  return covered === 'no' || (isPid && covered === 'unknown') ? ERRORS['not-covered'].exit : 0;
}

function inspectNamed({ env, uid }: Context, command: readonly string[]): Finding[] {
  if (command.length === 0) return [inspectCards(env)];
  return inspectCommand(command, {
    uid,
    gids: [process.getegid?.() ?? 0, ...(process.getgroups?.() ?? [])],
    path: env['PATH'],
  });
}

function subject(word: string | undefined, isPid: boolean, command: readonly string[]): string {
  if (word === undefined) return 'programs started by penstock-vram run';
  return isPid ? `process ${word}` : command.join(' ');
}

const MARKS = { ok: 'ok ', bad: 'NO ', unknown: '?  ' } as const;
const SENTENCES: Readonly<Record<Verdict, string>> = {
  yes: 'covered',
  no: 'not covered',
  unknown: 'covered, as far as can be told',
};

function sentenceOf(covered: Verdict, isPid: boolean): string {
  return isPid && covered === 'unknown' ? 'cannot be told' : SENTENCES[covered];
}

function report(what: string, sentence: string, findings: readonly Finding[]): string {
  const width = Math.max(...findings.map(({ check }) => check.length));
  const lines = findings.map(({ check, result, detail, fix }) => {
    const advice = fix === undefined ? '' : `\n     ${' '.repeat(width)}  ${fix}`;
    return `  ${MARKS[result]}${check.padEnd(width)}  ${detail}${advice}\n`;
  });
  return `${what}: ${sentence}\n${lines.join('')}`;
}

export const doctor: Command = {
  name: 'doctor',
  summary: 'say whether, and why not, a process or a command is covered',
  help: {
    synopsis: ['penstock-vram doctor', 'penstock-vram doctor PID', 'penstock-vram doctor -- PROGRAM [ARGUMENT]...'],
    description: [
      'A limit holds in processes that have loaded the object of a session. doctor looks for what would keep a program from loading it, without starting anything; with PID for what has kept a process from it; without either at this installation.',
      'It finds: a program that is linked statically, uses musl, is for another architecture or for 32 bits, runs with more rights than its caller (setuid, setgid, file capabilities); a launcher that cleans the environment or starts the program elsewhere (env -i, sudo, docker, systemd-run, ssh); a folder on a noexec mount, or one that cannot be written to; objects that are missing or do not fit; an object that has gone from LD_PRELOAD; a session that was taken away. Scripts are followed to their interpreters.',
      'What a program starts in turn cannot be foreseen: ask for that by PID when it runs.',
    ],
    options: [HELP_STATE_DIR, HELP_LIB_DIR, HELP_JSON, HELP_HELP],
    exit: [
      '0    covered, or nothing was found against it',
      '1    not covered; the lines marked NO say why; or, of a process, that it cannot be told',
      '2    the command line is wrong',
      '3    there is no such process',
    ],
    examples: [
      ['penstock-vram doctor -- python train.py', 'before it is started'],
      ['penstock-vram doctor 12345', 'a process that runs'],
    ],
  },
  run: examine,
};
