// SPDX-License-Identifier: Apache-2.0
import { lstatSync, mkdirSync, readSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { CONTROL_SIZE, HEADER, LEDGER_SIZE } from '#native/layout.ts';
import type { Context } from '../context.ts';
import { VramError, codeOf } from '../errors.ts';
import { isNoexec } from '../mounts.ts';
import { checkAlive } from './alive.ts';
import { DIR_MODE, replaceFile } from './disk.ts';
import { draftName, isBeingMade } from './draft-name.ts';
import { readLedger, slotsOf } from './ledger.ts';
import type { LedgerView } from './ledger.ts';
import { LOCK_WAIT_MS, withLock } from './lock.ts';
import { VRAM_OBJECT, checkObjects } from './objects.ts';
import type { ObjectFile } from './objects.ts';
import { checkPrivateDir, readPrivateFile, withPrivateFile } from './private-file.ts';
import { checkName, formatRecord, parseRecord } from './record.ts';
import type { Run, SessionRecord } from './record.ts';
import { checkLedgerHeader, makeControl, makeLedger, readControl, stateWord } from './region.ts';
import type { Control, Managed, Reported, State } from './region.ts';

/** A session as it lies on the disk. */
export interface Session {
  readonly dir: string;
  readonly record: SessionRecord;
  readonly control: Control;
}

export interface NewSession {
  readonly record: SessionRecord;
  readonly report: Reported;
  readonly managed: Managed;
  readonly objects: readonly ObjectFile[];
}

/** A session that lies ready on the disk, and counts as soon as it is created. */
export interface Draft extends NewSession {
  /** Undefined: there is nothing of it on the disk yet. */
  readonly dir: string | undefined;
}

type StoreContext = Pick<Context, 'uid' | 'clock' | 'disk' | 'processes' | 'random'>;

/** Longer records are none of ours: some hundred bytes, and a hundred for each program that was started. */
const RECORD_MAX_BYTES = 2 ** 20;
/**
 * What was started in another PID namespace is known by the FIFO that it holds (see `isHeld`). Between its entry and its start it holds none
 * yet, and some programs close whatever they were given: for so long they are taken to live. Much longer, and a container's sessions
 * would be kept for nothing.
 */
const UNSEEN_MS = 10 * 60_000;
/** Beginning with a dot no name of a session, and so what is left of one that was being made or taken away. */
const UNFINISHED = '.';

/** The sessions of one user: a folder each. What changes them is called inside `locked` only. */
export class SessionStore {
  readonly stateDir: string;
  readonly #context: StoreContext;

  /** @throws VramError `not-private` or `unusable-path` when the folder cannot be used; makes it when it is not there */
  constructor(stateDir: string, context: StoreContext) {
    this.stateDir = stateDir;
    this.#context = context;
    mkdirSync(dirname(stateDir), { recursive: true, mode: DIR_MODE });
    for (const dir of [stateDir, this.#sessions()]) {
      try {
        context.disk.mkdir(dir);
      } catch (err) {
        if (codeOf(err) !== 'EEXIST') throw err;
      }
      checkPrivateDir(dir, context.uid);
    }
    if (isNoexec(stateDir))
      throw new VramError(
        'unusable-path',
        `${stateDir} lies on a file system mounted noexec: nothing can be preloaded from it`,
        {
          fix: 'choose another folder by --state-dir or PENSTOCK_VRAM_STATE_DIR',
        },
      );
  }

  locked<T>(use: () => T, waitMs = LOCK_WAIT_MS): T {
    return withLock(this.stateDir, use, waitMs);
  }

  #sessions(name = ''): string {
    return join(this.stateDir, 'sessions', name);
  }

  dirOf(name: string): string {
    return this.#sessions(checkName(name));
  }

  /** Names in order; damaged sessions too. */
  names(): string[] {
    const entries = readdirSync(this.#sessions());
    return entries.filter((entry) => !entry.startsWith(UNFINISHED)).toSorted();
  }

  exists(name: string): boolean {
    return this.names().includes(checkName(name));
  }

  /** @throws VramError `not-found`, `damaged` or `not-private` */
  open(name: string): Session {
    const dir = this.dirOf(name);
    const { uid } = this.#context;
    try {
      checkPrivateDir(dir, uid);
    } catch (err) {
      if (codeOf(err) !== 'ENOENT') throw err;
      throw new VramError('not-found', `you have no session ${name}`, { fix: 'penstock-vram sessions lists them' });
    }
    return this.#read(dir, name);
  }

  #read(dir: string, name: string): Session {
    const { uid } = this.#context;
    return whole(dir, () => {
      const recordPath = join(dir, 'session.json');
      const record = parseRecord(readPrivateFile(recordPath, uid, RECORD_MAX_BYTES), recordPath);
      if (record.name !== name) throw new VramError('damaged', `${recordPath}: it is of session ${record.name}`);
      const controlPath = join(dir, 'control');
      const control = readControl(readPrivateFile(controlPath, uid, CONTROL_SIZE), controlPath, record.limits);
      if (control.id !== record.id)
        throw new VramError('damaged', `${dir}: control page and record are of two sessions`);
      withPrivateFile(join(dir, 'ledger'), uid, true, (fd, size) => checkLedger(dir, record.id, fd, size));
      checkAlive(dir, uid);
      checkObjects(dir, uid, record.objects);
      return { dir, record, control };
    });
  }

  /**
   * Writes a session's files beside the sessions: that takes the longest, and needs no lock. It is one by `create`, or `discard`ed.
   * Another penstock-vram that cannot see this process (in another container) may take it for a leftover: `create` writes it anew then.
   */
  draft(session: NewSession): Draft {
    const dir = this.#sessions(`${UNFINISHED}${draftName(this.#context.processes, this.#token())}`);
    try {
      this.#write(dir, session);
      return { ...session, dir };
    } catch (err) {
      if (codeOf(err) === 'ENOENT') return { ...session, dir: undefined };
      this.#context.disk.removeTree(dir);
      throw err;
    }
  }

  #write(dir: string, { record, report, managed, objects }: NewSession): void {
    const { disk } = this.#context;
    disk.mkdir(dir);
    for (const { name, bytes } of objects) disk.create(join(dir, name), bytes);
    disk.create(join(dir, 'ledger'), makeLedger(record.id));
    disk.create(join(dir, 'control'), makeControl({ ...record, report, managed }));
    disk.create(join(dir, 'session.json'), formatRecord(record));
    disk.syncDir(dir);
  }

  discard({ dir }: Draft): void {
    if (dir !== undefined) this.#context.disk.removeTree(dir);
  }

  /** Appears whole, by one rename, or not at all. @throws VramError `exists` */
  create(draft: Draft): Session {
    const { disk } = this.#context;
    const { name } = draft.record;
    if (this.exists(name)) throw new VramError('exists', `there is a session ${name} already`);
    const from = this.#isWhole(draft) ? draft.dir : this.#again(draft);
    const dir = this.dirOf(name);
    disk.rename(from, dir);
    disk.syncDir(this.#sessions());
    return this.open(name);
  }

  #isWhole(draft: Draft): draft is Draft & { readonly dir: string } {
    if (draft.dir === undefined) return false;
    try {
      this.#read(draft.dir, draft.record.name);
      return true;
    } catch (err) {
      if (err instanceof VramError && err.code === 'damaged') return false;
      throw err;
    }
  }

  #again(draft: Draft): string {
    const dir = this.#grave();
    this.#write(dir, draft);
    return dir;
  }

  replaceRecord(record: SessionRecord): void {
    const dir = this.dirOf(record.name);
    // A name of its own each time: what a crash left is never in the way, and goes with the session.
    const temporary = join(dir, `.session.json.${this.#token()}`);
    replaceFile(this.#context.disk, join(dir, 'session.json'), temporary, formatRecord(record));
  }

  setState(name: string, state: State): void {
    const { bytes, position } = stateWord(state);
    const { disk, uid } = this.#context;
    const path = join(this.dirOf(name), 'control');
    withPrivateFile(path, uid, true, (fd) => disk.overwrite(fd, bytes, position));
  }

  /** Gone at once, by one rename; then its files. Processes that have them mapped keep them until they end. */
  remove(name: string): void {
    const { disk } = this.#context;
    const grave = this.#grave();
    disk.rename(this.dirOf(name), grave);
    disk.syncDir(this.#sessions());
    disk.removeTree(grave);
  }

  /** What a penstock-vram that was killed left half made or half removed. */
  removeUnfinished(): void {
    const { disk, processes } = this.#context;
    for (const entry of readdirSync(this.#sessions()))
      if (entry.startsWith(UNFINISHED) && !isBeingMade(processes, entry.slice(UNFINISHED.length)))
        disk.removeTree(this.#sessions(entry));
  }

  /** For what lives no longer than the lock is held. */
  #grave(): string {
    return this.#sessions(`${UNFINISHED}${this.#token()}`);
  }

  #token(): string {
    return Buffer.from(this.#context.random.bytes(8)).toString('hex');
  }

  ledgerOf({ dir, control }: Session): LedgerView {
    const live = this.liveSlots(dir);
    const bytes = readPrivateFile(join(dir, 'ledger'), this.#context.uid, LEDGER_SIZE);
    return readLedger(bytes, control.devices, (slot) => live?.has(slot) ?? true);
  }

  /** Slots whose processes live, in whatever PID namespace; undefined where the kernel does not tell. */
  liveSlots(dir: string): ReadonlySet<number> | undefined {
    const { processes, uid } = this.#context;
    const inode = withPrivateFile(join(dir, 'ledger'), uid, false, (_fd, _size, ino) => ino);
    const locked = processes.lockedBytes(inode);
    return locked === undefined ? undefined : slotsOf(locked);
  }

  /** Those that cannot be seen from here are among them for `UNSEEN_MS`. */
  livingRuns({ record }: Session): Run[] {
    const { processes, clock } = this.#context;
    // A clock that was set back must not keep a run for years.
    const isRecent = ({ sinceMs = 0 }: Run): boolean => Math.abs(clock.now() - sinceMs) < UNSEEN_MS;
    return record.runs.filter((run) => processes.lives(run) ?? isRecent(run));
  }

  /** Of `livingRuns` those whose numbers mean something here. */
  seenRuns(session: Session): Run[] {
    return this.livingRuns(session).filter((run) => this.#context.processes.lives(run) === true);
  }

  /** Processes that were started with the session's objects, as far as this user may look. */
  processesUsing(dir: string): number[] {
    const path = join(dir, VRAM_OBJECT);
    return this.#context.processes.using({ path, inode: inodeOf(path) });
  }
}

/** Undefined where there is no such file, or a session's folder is none. */
function inodeOf(path: string): number | undefined {
  try {
    return lstatSync(path).ino;
  } catch (err) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(codeOf(err))) return undefined;
    throw err;
  }
}

function checkLedger(dir: string, id: string, fd: number, size: number): void {
  const path = join(dir, 'ledger');
  if (size !== LEDGER_SIZE)
    throw new VramError('damaged', `${path}: ${size} bytes, and not ${LEDGER_SIZE}`, {
      fix: 'penstock-vram release --force takes the session away',
    });
  const head = new Uint8Array(HEADER.size);
  checkLedgerHeader(head.subarray(0, readSync(fd, head, 0, head.length, 0)), id, path);
}

/** A file that is not there, in a session that is, is damage. */
function whole<T>(dir: string, read: () => T): T {
  try {
    return read();
  } catch (err) {
    if (codeOf(err) !== 'ENOENT') throw err;
    throw new VramError('damaged', `${dir}: a file is missing`, {
      fix: 'penstock-vram release --force takes the session away',
      cause: err,
    });
  }
}
