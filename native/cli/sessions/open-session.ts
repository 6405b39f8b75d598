// SPDX-License-Identifier: Apache-2.0
import type { Context } from '../context.ts';
import { formatDuration } from '../durations.ts';
import { VramError } from '../errors.ts';
import type { DeviceLimit } from '../limits.ts';
import { sameLimits } from '../limits.ts';
import { limitsOnCards } from './card-limits.ts';
import { listCards } from './cards.ts';
import type { Card } from './cards.ts';
import { isUsed, openOrSkip, sweep } from './lifecycle.ts';
import { digestOf } from './objects.ts';
import type { ObjectFile } from './objects.ts';
import { overcommitError, overcommitText, overcommits } from './overcommit.ts';
import type { PromisedShares } from './overcommit.ts';
import type { Run, SessionLimit, SessionRecord } from './record.ts';
import type { Managed, Reported } from './region.ts';
import type { Draft, Session, SessionStore } from './store.ts';

export interface SessionRequest {
  /** Undefined: any free one, and the session ends with its processes. */
  readonly name: string | undefined;
  readonly limits: readonly DeviceLimit[];
  readonly ttlSeconds: number;
  /** Whether a person named it, and it is no default. */
  readonly ttlNamed?: boolean;
  readonly report: Reported;
  readonly managed: Managed;
  readonly overcommit: boolean;
  readonly ephemeral: boolean;
  /** The process that becomes the first program of the session. */
  readonly run?: Run | undefined;
}

export interface OpenedSession {
  readonly session: Session;
  readonly created: boolean;
  /** What a person should know: more promised than there is, or that nobody could tell. */
  readonly warnings: readonly string[];
}

/** A new session as it would be, its files written beside those that are there. */
interface Plan {
  readonly draft: Draft;
  /** As the driver tells; undefined where none can be asked. */
  readonly cards: readonly Card[] | undefined;
  readonly notes: readonly string[];
}

/** What takes time, and so is done before the lock is taken: the driver is asked, and the objects are copied. */
function planSession(
  store: SessionStore,
  context: Context,
  request: SessionRequest,
  objects: readonly ObjectFile[],
): Plan {
  const cards = listCards(context.env);
  const name = request.name ?? freeName(store, context, request.ephemeral ? 'run' : 'session');
  const { limits, notes } = limitsOnCards(request.limits, cards, context.env);
  const record = { ...newRecord(name, limits, request, context), objects: objects.map(digestOf) };
  return { draft: store.draft({ record, ...request, objects }), cards, notes };
}

/**
 * The session of that name and these limits: the one that is there, or the planned one. Inside `locked`. Undefined: it has to be made,
 * and a plan of a free name is needed.
 * @throws VramError `exists`, `expired` or `overcommit`
 */
function openSession(
  store: SessionStore,
  context: Context,
  request: SessionRequest,
  plan: Plan | undefined,
): OpenedSession | undefined {
  sweep(store, context.clock);
  const name = request.name ?? plan?.draft.record.name;
  if (name !== undefined && store.exists(name)) {
    // Somebody took the name that was chosen for this one.
    if (request.name === undefined) return undefined;
    const session = store.open(name);
    if (session.control.state === 'active')
      return { session: sameSession(session, request), created: false, warnings: ttlWarnings(session, request) };
    // Expired or closed, and sweep left it: what is still in use stays.
    if (isUsed(store, session))
      throw new VramError('expired', `session ${name} is ${session.control.state}, and processes of it live`, {
        fix: 'take another name, or end them',
      });
    store.remove(name);
  }
  if (plan === undefined) return undefined;
  const { record } = plan.draft;
  const wanted = { session: record.name, limits: record.limits };
  const warnings = [...plan.notes, ...checkFit(store, wanted, plan.cards ?? [], request.overcommit)];
  return { session: store.create(plan.draft), created: true, warnings };
}

function sameSession(session: Session, request: SessionRequest): Session {
  if (sameLimits(session.record.limits, request.limits)) return session;
  const { name } = session.record;
  throw new VramError('exists', `session ${name} is there already, with other limits`, {
    fix: `penstock-vram attach ${name} joins it as it is; release it first to change the limits`,
  });
}

function ttlWarnings({ record }: Session, { ttlNamed, ttlSeconds }: SessionRequest): string[] {
  if (ttlNamed !== true || ttlSeconds === record.ttlSeconds) return [];
  return [`session ${record.name} is there already and keeps its time of ${formatDuration(record.ttlSeconds)} (--ttl)`];
}

function freeName(store: SessionStore, { random }: Context, prefix: string): string {
  const taken = new Set(store.names());
  for (;;) {
    const name = `${prefix}-${Buffer.from(random.bytes(4)).toString('hex')}`;
    if (!taken.has(name)) return name;
  }
}

function newRecord(
  name: string,
  limits: readonly SessionLimit[],
  { ttlSeconds, ephemeral, run }: SessionRequest,
  { clock, random }: Context,
): Omit<SessionRecord, 'objects'> {
  const now = clock.now();
  const id = Buffer.from(random.bytes(16)).toString('hex');
  const base = { name, id, createdMs: now, ttlSeconds, ephemeral, limits };
  return run === undefined ? { ...base, idleUntilMs: now + ttlSeconds * 1000, runs: [] } : { ...base, runs: [run] };
}

function checkFit(store: SessionStore, wanted: PromisedShares, cards: readonly Card[], overcommit: boolean): string[] {
  const found = overcommits(cards, [...promised(store), wanted]);
  if (found.length > 0 && !overcommit) throw overcommitError(found);
  return found.map(overcommitText);
}

/** Sessions that may still take memory. Those of other users cannot be seen. */
function promised(store: SessionStore): PromisedShares[] {
  return store.names().flatMap((name) => {
    const session = openOrSkip(store, name);
    const counts = session !== undefined && session.control.state !== 'expired';
    return counts ? [{ session: name, limits: session.record.limits }] : [];
  });
}

/**
 * The session of that name and these limits: the one that is there, or a new one. Takes the lock.
 * @param then called while the lock is held
 * @throws VramError `exists`, `expired`, `overcommit`, `not-found` or `busy`
 */
export function openLocked(
  store: SessionStore,
  context: Context,
  request: SessionRequest,
  objects: readonly ObjectFile[],
  then: (opened: OpenedSession) => void = () => {},
): OpenedSession {
  // For a session that is there nothing is planned. Should it go before the lock is had, the second round makes it.
  for (let known = isActive(store, request.name); ; known = false) {
    const plan = known ? undefined : planSession(store, context, request, objects);
    let opened: OpenedSession | undefined;
    try {
      opened = store.locked(() => {
        const found = openSession(store, context, request, plan);
        if (found !== undefined) then(found);
        return found;
      });
    } finally {
      if (plan !== undefined && opened?.created !== true) store.discard(plan.draft);
    }
    if (opened !== undefined) return opened;
  }
}

function isActive(store: SessionStore, name: string | undefined): boolean {
  return name !== undefined && store.exists(name) && openOrSkip(store, name)?.control.state === 'active';
}
