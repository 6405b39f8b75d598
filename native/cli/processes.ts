// SPDX-License-Identifier: Apache-2.0
import { readFileSync, readdirSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';

/** A process that cannot be taken for a later one of the same number: start time in ticks since the boot of that id. */
export interface ProcessId {
  readonly pid: number;
  readonly start: string;
  readonly boot: string;
  /** PID namespace that the number is of: inode of /proc/self/ns/pid. Undefined where the kernel does not tell. */
  readonly namespace?: string;
}

/** A session's copy of an object. Undefined inode: the file is gone. */
export interface ObjectPlace {
  readonly path: string;
  readonly inode: number | undefined;
}

/** What the kernel says about processes; a test gives a folder that looks like /proc. */
export interface Processes {
  /** Undefined when there is none (any more), or only its exit status is left. */
  identify(pid: number): ProcessId | undefined;
  /** Undefined: it is of a PID namespace into which one cannot look from here. */
  lives(id: ProcessId): boolean | undefined;
  /**
   * Processes of this user that have mapped an object (a file of that inode and name, whatever its path is in their own mounts), or
   * hand it on in LD_PRELOAD.
   */
  using(object: ObjectPlace): number[];
  /** Offsets of the byte locks that anyone holds on the file, in any PID namespace; undefined where the kernel does not tell. */
  lockedBytes(inode: number): ReadonlySet<number> | undefined;
  /** Name of the program as `ps` shows it; '' when it is gone. */
  nameOf(pid: number): string;
}

/** Counted from behind the last parenthesis: the name before it may hold anything. */
const STATE_FIELD = 0;
const START_FIELD = 19;
/** Ended; what is left is an entry for the parent (zombie), or less. */
const ENDED = new Set(['Z', 'X', 'x']);
/** `1: OFDLCK ADVISORY  WRITE -1 08:01:1234 100 100`; waiting ones have an arrow, and hold nothing. */
const LOCK_LINE = /^[0-9]+: +(?:OFDLCK|POSIX) +\S+ +WRITE +\S+ +[0-9a-f]+:[0-9a-f]+:([0-9]+) +([0-9]+) +([0-9]+|EOF)$/;

/** Of the namespace that the kernel boots with, in which all processes are seen. */
const FIRST_NAMESPACE = '4026531836';

export function createProcesses(root = '/proc'): Processes {
  const read = (pid: number, file: string): string | undefined => textOf(join(root, String(pid), file));
  const boot = textOf(join(root, 'sys/kernel/random/boot_id'))?.trim() ?? '';
  const namespace = namespaceOf(join(root, 'self/ns/pid'));
  const identify = (pid: number): ProcessId | undefined => {
    const stat = read(pid, 'stat');
    const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? [];
    const start = fields[START_FIELD];
    if (start === undefined || ENDED.has(fields[STATE_FIELD] ?? '')) return undefined;
    return { pid, start, boot, ...(namespace === undefined ? {} : { namespace }) };
  };
  // From outside of its namespace a process has another number, and says both.
  const isSeenFromOutside = (id: ProcessId): boolean =>
    pidsOf(root).some((pid) => identify(pid)?.start === id.start && innerPid(read(pid, 'status')) === id.pid);
  const lives = (id: ProcessId): boolean | undefined => {
    if (id.boot !== boot) return false;
    if (id.namespace === undefined || id.namespace === namespace) return identify(id.pid)?.start === id.start;
    return isSeenFromOutside(id) || (namespace === FIRST_NAMESPACE ? false : undefined);
  };
  return {
    identify,
    lives,
    using: (object) =>
      pidsOf(root).filter(
        (pid) =>
          identify(pid) !== undefined &&
          (isMapped(read(pid, 'maps'), object) || preloadOf(read(pid, 'environ')).includes(object.path)),
      ),
    lockedBytes: (inode) => lockedBytes(textOf(join(root, 'locks')), inode),
    nameOf: (pid) => read(pid, 'comm')?.trim() ?? '',
  };
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // It has ended in between, or it is none of ours to look at.
    return undefined;
  }
}

function namespaceOf(link: string): string | undefined {
  try {
    return /^pid:\[([0-9]+)\]$/.exec(readlinkSync(link))?.[1];
  } catch {
    return undefined;
  }
}

/** The number of a process in its own namespace: the last one of the line `NSpid: 4711 12 1`. */
function innerPid(status: string | undefined): number {
  return Number(/^NSpid:.*\t([0-9]+)$/m.exec(status ?? '')?.[1] ?? 0);
}

/** A line ends with `inode path`, and perhaps with ` (deleted)`. */
function isMapped(maps: string | undefined, { path, inode }: ObjectPlace): boolean {
  const name = basename(path);
  return (maps ?? '').split('\n').some((line) => {
    if (!line.includes(name)) return false;
    return line.includes(` ${path}`) || (inode !== undefined && line.includes(` ${inode} `));
  });
}

function pidsOf(root: string): number[] {
  return readdirSync(root)
    .filter((name) => /^[1-9][0-9]*$/.test(name))
    .map(Number);
}

/** The objects of LD_PRELOAD in a process's first environment; the loader splits at spaces and colons. */
export function preloadOf(environ: string | undefined): string[] {
  const entry = environ?.split('\0').find((line) => line.startsWith('LD_PRELOAD='));
  return splitPreload(entry?.slice('LD_PRELOAD='.length));
}

export function splitPreload(value: string | undefined): string[] {
  return (value ?? '').split(/[: ]+/).filter((path) => path !== '');
}

function lockedBytes(text: string | undefined, inode: number): ReadonlySet<number> | undefined {
  if (text === undefined) return undefined;
  const found = new Set<number>();
  for (const line of text.split('\n')) {
    const [, of, first, last] = LOCK_LINE.exec(line.trimEnd()) ?? [];
    // The device is not compared: file systems of layers and snapshots show another one here than stat does.
    if (of === undefined || Number(of) !== inode || first !== last) continue;
    found.add(Number(first));
  }
  return found;
}
