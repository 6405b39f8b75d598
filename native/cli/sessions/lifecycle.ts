// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import { VramError, explain } from '../errors.ts';
import { isHeld } from './alive.ts';
import { MAX_RUNS } from './record.ts';
import type { Run, SessionRecord } from './record.ts';
import type { Processes } from '../processes.ts';
import type { Session, SessionStore } from './store.ts';

/** How long an expired session is still listed, so that a person finds out what became of it. */
const EXPIRED_KEPT_MS = 7 * 24 * 3600 * 1000;
/** So many processes are named in a refusal; the rest is counted. */
const SHOWN_PROCESSES = 5;

/**
 * Nobody has to renew a session. Its time runs only while no process uses it, from the first look that finds it so, and it is
 * looked at whenever a penstock-vram runs: a job that lives cannot be late for anything. Called inside `locked`.
 */
export function sweep(store: SessionStore, clock: Pick<Clock, 'now'>): void {
  store.removeUnfinished();
  for (const name of store.names()) {
    const session = openOrSkip(store, name);
    if (session !== undefined) sweepOne(store, session, clock.now());
  }
}

/** Damaged ones and those of others are for `release` and for people. */
export function openOrSkip(store: SessionStore, name: string): Session | undefined {
  try {
    return store.open(name);
  } catch (err) {
    if (explain(err) === undefined) throw err;
    return undefined;
  }
}

function sweepOne(store: SessionStore, session: Session, now: number): void {
  const { record, control } = session;
  if (isPlainlyUsed(store, session)) return setIdle(store, record, undefined);
  if (record.ephemeral || control.state === 'closed') {
    if (store.processesUsing(session.dir).length === 0) store.remove(record.name);
    return undefined;
  }
  // A clock that was set back must not keep a session for years.
  const { idleUntilMs = Number.POSITIVE_INFINITY, ttlSeconds } = record;
  const latest = now + ttlSeconds * 1000;
  if (idleUntilMs > latest) return setIdle(store, record, latest);
  if (idleUntilMs > now) return undefined;
  return expire(store, session, idleUntilMs, now);
}

function expire(store: SessionStore, { dir, record, control }: Session, idleUntilMs: number, now: number): void {
  // Programs that have not touched a GPU yet hold no slot, and children outlive what `run` started: the slow look finds them.
  if (store.processesUsing(dir).length > 0) return setIdle(store, record, undefined);
  if (control.state === 'active') return store.setState(record.name, 'expired');
  return now > idleUntilMs + EXPIRED_KEPT_MS ? store.remove(record.name) : undefined;
}

function setIdle(store: SessionStore, record: SessionRecord, idleUntilMs: number | undefined): void {
  if (record.idleUntilMs === idleUntilMs) return;
  const { idleUntilMs: _before, ...rest } = record;
  store.replaceRecord(idleUntilMs === undefined ? rest : { ...rest, idleUntilMs });
}

/** What `run` or `attach` started lives, or a child of it, or a process holds a slot. */
export function isPlainlyUsed(store: SessionStore, session: Session): boolean {
  return isHeld(session.dir) || store.livingRuns(session).length > 0 || liveSlotCount(store, session.dir) > 0;
}

/** By any process at all: looks at each that this user may see. */
export function isUsed(store: SessionStore, session: Session): boolean {
  return isPlainlyUsed(store, session) || store.processesUsing(session.dir).length > 0;
}

function liveSlotCount(store: SessionStore, dir: string): number {
  return store.liveSlots(dir)?.size ?? 0;
}

/**
 * Notes that a process becomes a program of the session. Inside `locked`, so that nobody finds the session unused in between.
 * @throws VramError `expired` or `in-use`
 */
export function addRun(store: SessionStore, session: Session, run: Run): void {
  const { record, control } = session;
  if (control.state !== 'active')
    throw new VramError('expired', `session ${record.name} is ${control.state}`, {
      fix: `penstock-vram allocate ${record.name} --limit SIZE makes it anew`,
    });
  const runs = store.livingRuns(session);
  if (runs.length >= MAX_RUNS)
    throw new VramError('in-use', `${runs.length} programs of session ${record.name} live`, { fix: 'end some' });
  const { idleUntilMs: _idle, ...rest } = record;
  store.replaceRecord({ ...rest, runs: [...runs, run] });
}

/** What a session's release found. `waitingFor`: processes that live on, without new credit; the files go with the last one. */
export interface Released {
  readonly name: string;
  /** It has gone; otherwise it is closed, and goes with its last process. */
  readonly gone: boolean;
  readonly waitingFor: readonly number[];
}

/** Inside `locked`. @throws VramError `not-found` or `in-use` */
export function release(store: SessionStore, processes: Processes, name: string, force: boolean): Released {
  const session = openForRelease(store, name, force);
  const dir = store.dirOf(name);
  const pids = [
    ...new Set([
      ...store.processesUsing(dir),
      ...(session === undefined ? [] : store.seenRuns(session)).map(({ pid }) => pid),
    ]),
  ];
  if (pids.length === 0 && !isUsedUnseen(store, dir, session)) {
    store.remove(name);
    return { name, gone: true, waitingFor: [] };
  }
  if (!force)
    throw new VramError('in-use', `session ${name} is in use by ${listed(pids, processes)}`, {
      fix: 'end them, or release with --force: they keep what they have and get nothing more',
    });
  if (session === undefined)
    throw new VramError('in-use', `session ${name} is damaged and in use by ${listed(pids, processes)}`, {
      fix: 'end them first',
    });
  store.setState(name, 'closed');
  return { name, gone: false, waitingFor: pids };
}

/** By a process in a container, or of another user in one: it cannot be looked into, and the kernel tells that it is there. */
function isUsedUnseen(store: SessionStore, dir: string, session: Session | undefined): boolean {
  // The ledger of a damaged one may be anything.
  return session === undefined ? isHeld(dir) : isPlainlyUsed(store, session);
}

/** What --force takes away. */
const FORCED: ReadonlySet<string> = new Set(['damaged', 'not-private']);

function openForRelease(store: SessionStore, name: string, force: boolean): Session | undefined {
  try {
    return store.open(name);
  } catch (err) {
    // What lies in our own private folder is ours to take away, a link and a pipe too: nothing is followed or waited for.
    if (force && err instanceof VramError && FORCED.has(err.code)) return undefined;
    throw err;
  }
}

function listed(pids: readonly number[], processes: Processes): string {
  if (pids.length === 0) return 'a program that cannot be seen from here (of another container, or user)';
  const shown = pids.slice(0, SHOWN_PROCESSES).map((pid) => `${pid} (${printable(processes.nameOf(pid))})`);
  const rest = pids.length - shown.length;
  return `${pids.length === 1 ? 'process' : 'processes'} ${shown.join(', ')}${rest > 0 ? ` and ${rest} more` : ''}`;
}

function printable(text: string): string {
  return text.replace(/[\p{C}\u{FFFD}]/gu, '?');
}
