// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { hasMountOption } from '../mounts.ts';
import { MACHINES, isMusl, machineName, readElf } from './elf.ts';
import type { ElfFile } from './elf.ts';
import { bad, ok, unknown } from './finding.ts';
import type { Finding } from './finding.ts';

const FIX_DYNAMIC = 'link it dynamically against glibc';
const S_ISUID = 0o4000;
const S_ISGID = 0o2000;
/** Asked of a small tool that reads one file. */
const GETCAP_LIMIT_MS = 5000;

/** What the loader makes of a program's file: whether it loads objects from LD_PRELOAD at all. */
export function inspectFormat(path: string, arch: string = process.arch): Finding[] {
  let elf: ElfFile | undefined;
  try {
    elf = readElf(path);
  } catch {
    return [unknown('format', `${path} cannot be read`, 'ask as the user who may read it')];
  }
  if (elf === undefined) return [bad('format', `${path} is no program of Linux (ELF)`, 'name the program itself')];
  if (elf.machine !== MACHINES[arch]) {
    const is = machineName(elf.machine);
    return [
      bad(
        'architecture',
        `${path} is a program for ${is}, and the objects are for ${arch}: the loader leaves them out`,
        'use a program for this machine',
      ),
    ];
  }
  return [ok('architecture', machineName(elf.machine)), inspectLoader(path, elf)];
}

function inspectLoader(path: string, { interpreter }: ElfFile): Finding {
  if (interpreter === undefined)
    return bad('static', `${path} is linked statically: nothing loads LD_PRELOAD`, FIX_DYNAMIC);
  if (isMusl(interpreter))
    return bad(
      'musl',
      `${path} uses musl (${interpreter}): the objects load there and do nothing, as CUDA itself needs glibc`,
      FIX_DYNAMIC,
    );
  return ok('static', `linked dynamically (${interpreter})`);
}

export interface Caller {
  readonly uid: number;
  readonly gids: readonly number[];
  readonly path: string | undefined;
  /** Only what the file itself says, and no other program has to be asked. */
  readonly quick?: boolean;
}

/** Programs that run with more rights than their caller ignore LD_PRELOAD. */
export function inspectPrivilege(path: string, caller: Caller): Finding[] {
  const { mode, uid, gid } = statSync(path);
  if (hasMountOption(path, 'nosuid')) return [ok('setuid', 'on a nosuid file system')];
  const gainsUser = (mode & S_ISUID) !== 0 && uid !== caller.uid;
  const gainsGroup = (mode & S_ISGID) !== 0 && !caller.gids.includes(gid);
  if (gainsUser || gainsGroup)
    return [
      bad(
        'setuid',
        `${path} runs with the rights of ${gainsUser ? `user ${uid}` : `group ${gid}`} (set${gainsUser ? 'u' : 'g'}id): the loader ignores LD_PRELOAD`,
        'start the GPU program itself, or enter the object in /etc/ld.so.preload',
      ),
    ];
  return [ok('setuid', 'runs with your rights'), inspectCapabilities(path, caller)];
}

function inspectCapabilities(path: string, { uid, path: searched, quick = false }: Caller): Finding {
  if (quick) return ok('capabilities', 'not asked for');
  if (uid === 0) return ok('capabilities', 'root gains nothing by file capabilities');
  const env = { PATH: [searched, '/usr/sbin', '/sbin'].filter(Boolean).join(':') };
  const run = spawnSync('getcap', [path], { env, encoding: 'utf8', timeout: GETCAP_LIMIT_MS });
  if (run.error !== undefined || run.status !== 0)
    return unknown(
      'capabilities',
      `whether ${path} has file capabilities is not known: there is no getcap`,
      'apt-get install libcap2-bin',
    );
  if (run.stdout.trim() === '') return ok('capabilities', 'no file capabilities');
  return bad(
    'capabilities',
    `${path} has file capabilities: the loader ignores LD_PRELOAD`,
    'start a copy without them, or enter the object in /etc/ld.so.preload',
  );
}
