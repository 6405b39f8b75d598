// SPDX-License-Identifier: Apache-2.0
import { readFileSync, realpathSync } from 'node:fs';
import { dirname } from 'node:path';

export interface Mount {
  readonly point: string;
  readonly options: readonly string[];
  readonly type: string;
}

/** proc(5): blanks, tabs, line ends and backslashes in paths are written as three octal digits. */
function unescape(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_all, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** @param text /proc/PID/mountinfo */
export function parseMounts(text: string): Mount[] {
  return text.split('\n').flatMap((line) => {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , , point, options] = before.split(' ');
    const [type = ''] = after.split(' ');
    return point === undefined || options === undefined
      ? []
      : [{ point: unescape(point), options: options.split(','), type }];
  });
}

/** The mount that a path lies on: the one with the longest common folder, and of equal ones the last, which covers the others. */
export function mountOf(mounts: readonly Mount[], path: string): Mount | undefined {
  let best: Mount | undefined;
  for (const mount of mounts) {
    const inside = mount.point === '/' || path === mount.point || path.startsWith(`${mount.point}/`);
    if (inside && mount.point.length >= (best?.point.length ?? 0)) best = mount;
  }
  return best;
}

/** Where a path leads: of what is not there yet, the folder in which it will lie. */
export function nearestFolder(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path === '/' ? path : nearestFolder(dirname(path));
  }
}

/** The mount of a path as the system tells; undefined where it does not. */
function find(path: string, mountinfo: string): Mount | undefined {
  try {
    return mountOf(parseMounts(readFileSync(mountinfo, 'utf8')), nearestFolder(path));
  } catch {
    return undefined;
  }
}

/** Whether objects on this path cannot be mapped as code. A system that does not tell counts as one that allows it. */
export function isNoexec(path: string, mountinfo = '/proc/self/mountinfo'): boolean {
  return hasMountOption(path, 'noexec', mountinfo);
}

export function hasMountOption(path: string, option: string, mountinfo = '/proc/self/mountinfo'): boolean {
  return find(path, mountinfo)?.options.includes(option) ?? false;
}

/** Its type as in `mount`; '' where the system does not tell. */
export function fileSystemOf(path: string, mountinfo = '/proc/self/mountinfo'): string {
  return find(path, mountinfo)?.type ?? '';
}
