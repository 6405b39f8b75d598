// SPDX-License-Identifier: Apache-2.0
import { basename } from 'node:path';
import { VramError } from '../errors.ts';
import { findProgram } from '../find-program.ts';
import { inspectFormat, inspectPrivilege } from './binary.ts';
import type { Caller } from './binary.ts';
import { readHead } from './elf.ts';
import { bad, ok } from './finding.ts';
import type { Finding } from './finding.ts';

/** As the kernel: a script whose interpreter is a script, and so on, ends somewhere. */
const MAX_DEPTH = 5;
/** The kernel reads no more of a script's first line. */
const SHEBANG_BYTES = 256;

/** Programs that start another one elsewhere, or with another environment. */
const CLEANERS: Readonly<Record<string, string>> = {
  sudo: 'drops LD_PRELOAD',
  doas: 'drops LD_PRELOAD',
  su: 'drops LD_PRELOAD',
  pkexec: 'drops LD_PRELOAD',
  runuser: 'may drop LD_PRELOAD',
  docker: 'starts it in a container, by a daemon that never had your environment',
  podman: 'starts it in a container, where the session does not lie',
  nerdctl: 'starts it in a container, by a daemon that never had your environment',
  kubectl: 'starts it on another machine',
  ssh: 'starts it on another machine',
  'systemd-run': 'has a daemon start it, which never had your environment',
  at: 'has a daemon start it later',
  batch: 'has a daemon start it later',
  flatpak: 'starts it in a sandbox, where the session does not lie',
  chroot: 'starts it under another root, where the session does not lie',
};

/** Says why a command would not be covered, without starting it. What it starts in turn is not looked at. */
export function inspectCommand(command: readonly string[], caller: Caller): Finding[] {
  return follow(command, caller, MAX_DEPTH);
}

function follow(command: readonly string[], caller: Caller, depth: number): Finding[] {
  const [word = ''] = command;
  let path: string;
  try {
    path = findProgram(word, caller.path);
  } catch (err) {
    if (!(err instanceof VramError)) throw err;
    return [bad('program', err.message, 'name a program that can be started')];
  }
  const found = [ok('program', path)];
  const name = basename(word);
  const cleans = CLEANERS[name];
  if (cleans !== undefined)
    return [
      ...found,
      bad('launcher', `${name} ${cleans}`, `start penstock-vram run inside it: ${name} … penstock-vram run …`),
    ];
  if (depth > 0 && (name === 'env' || name === 'nohup'))
    return [...found, ...followLauncher(name, command, caller, depth)];
  return [...found, ...inspectFile(path, caller, depth)];
}

function followLauncher(name: string, command: readonly string[], caller: Caller, depth: number): Finding[] {
  const { next, cleans } = name === 'env' ? readEnv(command.slice(1)) : { next: command.slice(1), cleans: undefined };
  if (cleans !== undefined)
    return [
      bad(
        'environment',
        `env ${cleans} takes LD_PRELOAD away`,
        'leave LD_PRELOAD as it is; set other variables one by one',
      ),
    ];
  return next.length === 0 ? [] : follow(next, caller, depth - 1);
}

const IGNORES = /^(?:-|-[a-z0]*i[a-z0]*|--ignore-environment)$/;
const ALL_OF_PRELOAD = /^(?:--unset=LD_PRELOAD|-uLD_PRELOAD|LD_PRELOAD=.*)$/;
/** Options of env(1) whose value is the next word. */
const WITH_VALUE = new Set(['-u', '--unset', '-C', '--chdir']);

/** What env(1) would start, or the word that takes LD_PRELOAD away. */
function readEnv(words: readonly string[]): { readonly next: readonly string[]; readonly cleans: string | undefined } {
  for (let at = 0; at < words.length; at += 1) {
    const word = words[at] ?? '';
    if (IGNORES.test(word) || ALL_OF_PRELOAD.test(word)) return { next: [], cleans: word };
    if (WITH_VALUE.has(word)) {
      at += 1;
      if (word.includes('u') && words[at] === 'LD_PRELOAD') return { next: [], cleans: `${word} LD_PRELOAD` };
      continue;
    }
    if (word === '--') return { next: words.slice(at + 1), cleans: undefined };
    if (!word.startsWith('-') && !word.includes('=')) return { next: words.slice(at), cleans: undefined };
  }
  return { next: [], cleans: undefined };
}

function inspectFile(path: string, caller: Caller, depth: number): Finding[] {
  const script = interpreterOf(path);
  if (script === undefined) return [...inspectFormat(path), ...inspectPrivilege(path, caller)];
  if (depth === 0) return [bad('script', `${path}: too many interpreters of interpreters`, 'name the program itself')];
  return [ok('script', `${path} is run by ${script.join(' ')}`), ...follow(script, caller, depth - 1)];
}

/** The words of a script's first line; a shell's for a text without one, as shells do it. */
function interpreterOf(path: string): string[] | undefined {
  let head: string;
  try {
    head = readHead(path, SHEBANG_BYTES).toString('latin1');
  } catch {
    return undefined;
  }
  if (head.startsWith('#!')) {
    const [line = ''] = head.slice(2).split('\n');
    const [program = '', ...rest] = line.trim().split(/[ \t]+/);
    return [program, ...rest];
  }
  return head.startsWith('\x7fELF') || head.includes('\0') || head === '' ? undefined : ['/bin/sh'];
}
