// SPDX-License-Identifier: Apache-2.0
import type { RequestRecord } from '#gateway/queue/lease-queue.ts';
import { FINAL_STATES } from '#gateway/queue/lease-queue.ts';
import type { Seen } from './history.ts';
import { lettersGoOn } from './letter-rules.ts';
import { wrongIn } from './record-rules.ts';
import type { Answer } from './work.ts';

/** A request as it is once everything has come to rest. */
export interface Ended {
  readonly record: RequestRecord;
  /** What its result says, when it has one. */
  readonly answer?: Answer;
}

export interface Truth {
  readonly requests: ReadonlyMap<string, Ended>;
  /** The app was deleted: records are gone with it. */
  readonly purged: boolean;
}

type Of<T extends Seen['type']> = Extract<Seen, { readonly type: T }>;
type Rule = (facts: Facts) => Iterable<string>;

export interface Facts {
  readonly truth: Truth;
  readonly seen: <T extends Seen['type']>(type: T) => readonly Of<T>[];
}

/**
 * The total-queue property, for one run that has come to rest. Both layers use it: it knows what clients were told, what went through
 * the queue's interface, and how everything ended. Answers what is wrong, one sentence each; nothing = no violation.
 */
export function check(history: readonly Seen[], truth: Truth): string[] {
  const facts: Facts = {
    truth,
    seen: <T extends Seen['type']>(type: T) => history.filter((one): one is Of<T> => one.type === type),
  };
  return RULES.flatMap((rule) => [...rule(facts)]);
}

const isFinal = (state: string): boolean => (FINAL_STATES as readonly string[]).includes(state);

/** Nothing is lost: what a client was told is accepted has ended. */
function* acceptedEnds({ seen, truth }: Facts): Iterable<string> {
  for (const { id, tenant } of seen('accepted')) {
    const ended = truth.requests.get(id)?.record;
    if (ended === undefined) {
      if (!truth.purged) yield `lost: ${id} of ${tenant} was accepted and has no record`;
    } else if (!isFinal(ended.state)) yield `never ends: ${id} of ${tenant} was accepted and is ${ended.state}`;
  }
  for (const { id, what } of seen('unknown'))
    if (!truth.purged) yield `lost: a client with the ticket of ${id} was told ${what}`;
  for (const [id, { record }] of truth.requests)
    if (!isFinal(record.state)) yield `never ends: ${id} is ${record.state}`;
}

/** An end is for ever, and everybody is told the same one. */
function* endsStay({ seen, truth }: Facts): Iterable<string> {
  const ends = new Map<string, Of<'state'>>();
  for (const now of seen('state').toSorted((a, b) => a.end - b.end)) {
    const before = ends.get(now.id);
    // With its app every ticket is answered as cancelled, whatever it was.
    if (truth.purged && now.state === 'cancelled') continue;
    if (before !== undefined && before.end < now.start && !sameEnd(before, now))
      yield `changed: ${now.id} was ${before.state} (${before.mark}), then ${now.state} (${now.mark})`;
    if (isFinal(now.state)) ends.set(now.id, now);
    const { record } = truth.requests.get(now.id) ?? {};
    if (isFinal(now.state) && record !== undefined && record.state !== now.state)
      yield `changed: ${now.id} was ${now.state}, and is ${record.state} in the end`;
  }
}

function sameEnd(a: Of<'state'>, b: Of<'state'>): boolean {
  // Of two ways to ask one may not show the result.
  return a.state === b.state && (a.mark === b.mark || a.mark === '' || b.mark === '');
}

/** One token for each lease of a request, growing epochs, and never two leases at once. */
function* leasesExclude({ seen }: Facts): Iterable<string> {
  const extended = Map.groupBy(seen('extended'), ({ nonce }) => nonce);
  const endings = Map.groupBy(seen('ending'), ({ nonce }) => nonce);
  for (const [id, all] of Map.groupBy(seen('leased'), (lease) => lease.id)) {
    const leases = all.toSorted((a, b) => a.epoch - b.epoch);
    for (const [i, lease] of leases.entries()) {
      const next = leases[i + 1];
      if (next === undefined || next.nonce === lease.nonce) continue;
      if (next.epoch === lease.epoch) yield `doubled: ${id} was leased twice as epoch ${lease.epoch}`;
      if (endings.get(lease.nonce)?.some(({ start }) => start < next.end) === true) continue;
      const known = (extended.get(lease.nonce) ?? []).filter(({ end }) => end < next.start);
      const until = Math.max(lease.expiresAt, ...known.map(({ expiresAt }) => expiresAt));
      if (until > next.at)
        yield `doubled: ${id} was given to ${next.unit} ${until - next.at} ms before the lease of ${lease.unit} (epoch ${lease.epoch}) ran out`;
    }
  }
}

/** A result belongs to the last lease, comes of that request's own body, and only the holder of a token can end it. */
function* commitsBelong({ seen, truth }: Facts): Iterable<string> {
  for (const [id, all] of Map.groupBy(seen('settled'), (one) => one.id)) {
    const committed = all.filter(({ call, outcome }) => call === 'complete' && outcome === 'committed');
    if (new Set(committed.map(({ nonce }) => nonce)).size > 1)
      yield `doubled: ${id} has results of ${committed.length} leases`;
    const { record } = truth.requests.get(id) ?? {};
    for (const { epoch } of committed) {
      if (record === undefined) continue;
      if (record.state !== 'succeeded') yield `lost: a result of ${id} was committed, and it is ${record.state}`;
      if (record.epoch !== epoch)
        yield `stale: ${id} has a result of epoch ${epoch}, its last lease is ${record.epoch}`;
    }
    for (const { outcome, call } of all)
      if (call === 'forged' && outcome !== 'lost')
        yield `forged: a token that nobody was given answers ${outcome} for ${id}`;
  }
}

/** What a request answers is its own, and by the unit that had it last. */
function* resultsBelong({ truth }: Facts): Iterable<string> {
  for (const [id, { record, answer }] of truth.requests) {
    if (record.state !== 'succeeded') continue;
    const last = record.attempts.at(-1);
    if (answer === undefined) yield `lost: ${id} succeeded and its result cannot be read`;
    else if (answer.id !== id) yield `mixed up: ${id} has the result of ${answer.id}`;
    else if (last?.outcome !== 'succeeded' || answer.unit !== last.unit)
      yield `stale: ${id} has a result of ${answer.unit}, its last lease was ${last?.unit}'s (${last?.outcome})`;
  }
}

/** Whom a cancel was promised gets it: a result that comes later is dropped. */
function* cancelsHold({ seen, truth }: Facts): Iterable<string> {
  for (const { id, outcome } of seen('cancel')) {
    const { record } = truth.requests.get(id) ?? {};
    if ((outcome === 'cancelled' || outcome === 'cancelling') && record !== undefined && record.state !== 'cancelled')
      yield `uncancelled: the cancel of ${id} was answered ${outcome}, and it is ${record.state}`;
  }
}

/** Retired is for ever. */
function* retiredStayAway({ seen }: Facts): Iterable<string> {
  const retired = seen('retire').filter(({ outcome }) => outcome === 'retired');
  for (const { unit, end } of retired)
    for (const lease of seen('leased'))
      if (lease.unit === unit && lease.start > end) yield `retired: ${unit} was retired, and then given ${lease.id}`;
}

/** One request for one key at a time: the other one had ended without a result before this one was taken. */
function* keysJoin({ truth, seen }: Facts): Iterable<string> {
  // By the time of the answer: a call that was long under way made a record of an earlier time than the one at which it was made.
  const taken = new Map(seen('taken').map(({ id, time }) => [id, time]));
  const makesWay = (one: RequestRecord, other: RequestRecord): boolean =>
    // One that is being cancelled is joined by nobody: its end may come after the next one's beginning.
    one.state === 'cancelled' ||
    (one.state !== 'succeeded' && (one.finishedAt ?? Infinity) <= (taken.get(other.id) ?? Infinity));
  const records = [...truth.requests.values()].map(({ record }) => record);
  for (const [key, all] of Map.groupBy(records, (record) => `${record.tenant} ${record.dedupeKey}`))
    for (const [i, one] of all.entries())
      for (const other of all.slice(i + 1))
        if (!makesWay(one, other) && !makesWay(other, one))
          yield `doubled: ${one.id} (${one.state}) and ${other.id} (${other.state}) are both of ${key}`;
  for (const [id, told] of Map.groupBy(seen('accepted'), (one) => one.id))
    if (new Set(told.map(({ n }) => n)).size > 1) yield `mixed up: ticket ${id} was given for different bodies`;
}

/** Every record is right in itself. */
function* recordsAddUp({ truth, seen }: Facts): Iterable<string> {
  // Also by calls whose answer was lost.
  const discards = new Set(seen('discarding').map(({ id }) => id));
  for (const { record } of truth.requests.values()) yield* wrongIn(record, discards.has(record.id));
}

const RULES: readonly Rule[] = [
  acceptedEnds,
  endsStay,
  leasesExclude,
  commitsBelong,
  resultsBelong,
  cancelsHold,
  retiredStayAway,
  keysJoin,
  lettersGoOn,
  recordsAddUp,
];
