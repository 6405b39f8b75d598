// SPDX-License-Identifier: Apache-2.0
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import type { Places } from '../config.ts';
import { codeOf, explain } from '../errors.ts';
import { fileSystemOf, isNoexec, nearestFolder } from '../mounts.ts';
import { splitPreload } from '../processes.ts';
import { listCards } from '../sessions/cards.ts';
import { VRAM_OBJECT, readObjects } from '../sessions/objects.ts';
import { formatSize } from '../sizes.ts';
import { bad, ok, unknown } from './finding.ts';
import type { Finding } from './finding.ts';

const CHOOSE_ANOTHER = 'choose another folder by --state-dir or PENSTOCK_VRAM_STATE_DIR';
/** Where memory that processes share is kept by a server, and may be gone in between. */
const NETWORK = /^(?:nfs4?|cifs|smb3|9p|ceph|lustre|glusterfs|fuse\..*)$/;

type Environment = Readonly<Record<string, string | undefined>>;

/** Whether anything can be covered here: the objects, where they would lie, and what LD_PRELOAD holds already. */
export function inspectInstallation({ stateDir, libDir }: Places, env: Environment): Finding[] {
  return [...inspectObjects(libDir), inspectFolder(stateDir), ...inspectPreload(env), ...inspectSystemPreload()];
}

/** The cards that limits are checked against. Their driver may take seconds to wake: only for who asks about the installation. */
export function inspectCards(env: Environment): Finding {
  const cards = listCards(env);
  if (cards === undefined)
    return ok(
      'driver',
      'no driver could be asked (nvidia-smi): limits will go by the numbers that each process gives the GPUs, and whether they fit will not be known',
    );
  const list = cards.map(
    ({ index, name, memoryBytes }) =>
      `${index}: ${name}, ${memoryBytes === null ? 'memory not told' : formatSize(memoryBytes)}`,
  );
  return ok('driver', `GPU ${list.join('; ')}`);
}

function inspectObjects(libDir: string): Finding[] {
  try {
    readObjects(libDir);
  } catch (err) {
    const error = explain(err);
    if (error === undefined) throw err;
    return [bad('objects', error.message, error.fix ?? 'name their folder by --lib-dir')];
  }
  return [ok('objects', libDir)];
}

function inspectFolder(stateDir: string): Finding {
  // Made when it is first needed: until then its parents say what it will lie on.
  if (isNoexec(stateDir)) return bad('noexec', `${stateDir} lies on a file system mounted noexec`, CHOOSE_ANOTHER);
  const refusal = writeRefusal(nearestFolder(stateDir));
  if (refusal !== undefined)
    return bad('state-dir', `no session can be made in ${stateDir}: ${refusal}`, CHOOSE_ANOTHER);
  const type = fileSystemOf(stateDir);
  if (NETWORK.test(type))
    return unknown(
      'noexec',
      `${stateDir} lies on a file system of another machine (${type}): a session there ends with the connection`,
      'choose a local folder by --state-dir or PENSTOCK_VRAM_STATE_DIR',
    );
  return ok('noexec', `sessions can be made in ${stateDir}, and objects loaded from there`);
}

/** Why nothing can be made in a folder; undefined where it can. Asked of the kernel, as mounts, modes and access lists all have a say. */
function writeRefusal(folder: string): string | undefined {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return undefined;
  } catch (err) {
    const code = codeOf(err);
    if (code === 'EROFS') return `${folder} lies on a file system that is mounted read-only`;
    return code === 'EACCES' ? `this user may not write to ${folder}` : `${folder}: ${code}`;
  }
}

function inspectPreload(env: Environment): Finding[] {
  const missing = splitPreload(env['LD_PRELOAD']).find((path) => path.includes('/') && !existsSync(path));
  if (missing === undefined) return [];
  return [
    bad(
      'preload',
      `LD_PRELOAD of this shell names ${missing}, which is not there`,
      'unset LD_PRELOAD, or leave the shell',
    ),
  ];
}

function inspectSystemPreload(): Finding[] {
  let text: string;
  try {
    text = readFileSync('/etc/ld.so.preload', 'utf8');
  } catch {
    return [];
  }
  const paths = splitPreload(text.replace(/#.*/g, '').replace(/\s+/g, ' '));
  const ours = paths.find((path) => path.endsWith(`/${VRAM_OBJECT}`));
  if (ours !== undefined) return [ok('ld.so.preload', `${ours} is loaded into every dynamic program, setuid ones too`)];
  const missing = paths.find((path) => !existsSync(path));
  return missing === undefined
    ? []
    : [ok('ld.so.preload', `${missing} is not there: every program says so on standard error`)];
}
