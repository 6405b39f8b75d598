// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { VramError, codeOf } from '../errors.ts';
import { mountOf, parseMounts } from '../mounts.ts';
import { preloadOf } from '../processes.ts';
import { VRAM_OBJECT } from '../sessions/objects.ts';
import { inspectFormat } from './binary.ts';
import { bad, ok, unknown } from './finding.ts';
import type { Finding } from './finding.ts';

/** auxv: pairs of words, of which this one says that the kernel gave the program more rights than its caller had. */
const AT_SECURE = 23n;

/** Says why a process that runs is not covered. @throws VramError `not-found` */
export function inspectProcess(pid: number): Finding[] {
  const root = `/proc/${pid}`;
  if (!existsSync(join(root, 'stat'))) throw new VramError('not-found', `there is no process ${pid}`);
  const maps = read(root, 'maps');
  if (maps === undefined)
    return [
      unknown('program', `process ${pid} is not yours to look into, or has just ended`, 'ask as its user, or as root'),
    ];
  const program = linkOf(root, 'exe');
  if (maps === '' && program === undefined)
    return [bad('program', `process ${pid} has ended, or is one of the kernel`, 'name a process that runs')];
  const found = [ok('program', program ?? '(not known)'), driverFinding(root, maps)];
  const object = mappedObject(maps);
  return [...found, ...(object === undefined ? whyNotMapped(root, maps) : inspectMapped(root, maps, object))];
}

function read(root: string, file: string): string | undefined {
  try {
    return readFileSync(join(root, file), 'utf8');
  } catch {
    return undefined;
  }
}

function linkOf(root: string, file: string): string | undefined {
  try {
    return readlinkSync(join(root, file));
  } catch {
    return undefined;
  }
}

/** The path of our object as the loader mapped it. */
function mappedObject(maps: string): string | undefined {
  const line = maps.split('\n').find((one) => one.replace(/ \(deleted\)$/, '').endsWith(`/${VRAM_OBJECT}`));
  return line === undefined ? undefined : line.slice(line.indexOf('/'));
}

function driverFinding(root: string, maps: string): Finding {
  const open = descriptors(root).some((target) => target.startsWith('/dev/nvidia'));
  if (open) return ok('driver', 'it has a GPU open');
  return ok('driver', /\/libcuda\.so/.test(maps) ? 'it has loaded the driver' : 'it has not touched a GPU');
}

function descriptors(root: string): string[] {
  try {
    return readdirSync(join(root, 'fd')).map((fd) => linkOf(root, join('fd', fd)) ?? '');
  } catch {
    return [];
  }
}

function inspectMapped(root: string, maps: string, object: string): Finding[] {
  if (/\/ld-musl-/.test(maps))
    return [
      bad('musl', 'it runs on musl, where the object does nothing', 'use a program that is linked against glibc'),
    ];
  const path = object.replace(/ \(deleted\)$/, '');
  if (path !== object)
    return [
      ok('preload', path),
      bad(
        'region',
        'its session has been taken away: what it starts from now on is not covered',
        'start it anew in a session',
      ),
    ];
  const control = join(root, 'root', path, '..', 'control');
  const beside = join(root, 'root', path, '../../region/control');
  if (existsSync(control) || existsSync(beside))
    return [ok('preload', path), ok('region', `it is held to the limits of session ${basename(dirname(path))}`)];
  return [
    ok('preload', path),
    bad('region', 'there are no limits beside the object: everything passes', 'start it by penstock-vram run'),
  ];
}

function whyNotMapped(root: string, maps: string): Finding[] {
  const format = inspectFormat(join(root, 'exe')).filter(({ result }) => result !== 'ok');
  if (format.length > 0) return format;
  if (isSecure(root))
    return [
      bad(
        'setuid',
        'it runs with more rights than its caller (setuid, or file capabilities): the loader ignored LD_PRELOAD',
        'start the GPU program itself',
      ),
    ];
  const environ = read(root, 'environ');
  if (environ === undefined) return [unknown('environment', 'its environment cannot be read', 'ask as root')];
  const wanted = preloadOf(environ).find((path) => path.endsWith(`/${VRAM_OBJECT}`));
  if (wanted === undefined)
    return [
      bad(
        'environment',
        'it was started without the object in LD_PRELOAD: outside of a session, or by a program that cleaned the environment',
        'start it by penstock-vram run or attach; a running process cannot be put into a session',
      ),
    ];
  return [whyNotLoaded(root, maps, wanted)];
}

/** It was asked to load the object, and did not. */
function whyNotLoaded(root: string, maps: string, wanted: string): Finding {
  const inside = join(root, 'root', wanted);
  if (!existsSync(inside))
    return bad(
      'preload',
      `${wanted} is not there as the process sees the file system`,
      'start it in a session that exists, and mount its folder into the container',
    );
  const mount = mountOf(parseMounts(read(root, 'mountinfo') ?? ''), wanted);
  if (mount?.options.includes('noexec') === true)
    return bad(
      'noexec',
      `${wanted} lies on ${mount.point}, which is mounted noexec`,
      'choose another folder by --state-dir',
    );
  if (/\/ld-musl-/.test(maps)) return bad('musl', 'it runs on musl, where the object does nothing', 'use glibc');
  const format = inspectFormat(inside).find(({ check, result }) => check === 'architecture' && result === 'bad');
  return bad(
    'preload',
    format?.detail ?? `the loader left ${wanted} out: its message is on the standard error of the process`,
    'start it anew by penstock-vram run',
  );
}

function isSecure(root: string): boolean {
  let bytes: Buffer;
  try {
    bytes = readFileSync(join(root, 'auxv'));
  } catch (err) {
    // Only what has more rights than its caller hides this from its own user.
    return codeOf(err) === 'EACCES';
  }
  for (let at = 0; at + 16 <= bytes.length; at += 16)
    if (bytes.readBigUInt64LE(at) === AT_SECURE) return bytes.readBigUInt64LE(at + 8) !== 0n;
  return false;
}
