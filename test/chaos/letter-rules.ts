// SPDX-License-Identifier: Apache-2.0
import type { RequestRecord } from '#gateway/queue/lease-queue.ts';
import type { Facts } from './checker.ts';

/** A letter goes in again as one request, which runs and ends like any other; one that was removed stays away. */
export function* lettersGoOn(facts: Facts): Iterable<string> {
  yield* redriven(facts);
  yield* onceEach(facts);
  yield* discarded(facts);
}

function isAlike(a: RequestRecord, b: RequestRecord): boolean {
  return a.tenant === b.tenant && a.dedupeKey === b.dedupeKey;
}

function* redriven({ seen, truth }: Facts): Iterable<string> {
  const recordOf = (id: string): RequestRecord | undefined => truth.requests.get(id)?.record;
  for (const { from, id, kind } of seen('redriven')) {
    const [letter, other] = [recordOf(from), recordOf(id)];
    if (truth.purged) continue;
    if (letter === undefined) yield `lost: ${from} was redriven and has no record`;
    else if (letter.state !== 'failed' || letter.deadLetter || letter.redrivenAs !== id)
      yield `dead letters: ${from} was ${kind} as ${id}, and is ${letter.state}, redriven as ${letter.redrivenAs}`;
    if (other === undefined) yield `lost: ${from} was ${kind} as ${id}, which has no record`;
    else if (letter !== undefined && !isAlike(letter, other))
      yield `mixed up: ${from} of ${letter.tenant} was ${kind} as ${id} of ${other.tenant}`;
  }
}

/** Whatever calls were made, broken off or made again: one letter, one request. */
function* onceEach({ seen, truth }: Facts): Iterable<string> {
  for (const [from, all] of Map.groupBy(seen('redriven'), (one) => one.from)) {
    const ids = new Set(all.map(({ id }) => id));
    if (ids.size > 1) yield `doubled: ${from} was redriven as ${[...ids].join(' and ')}`;
  }
  for (const { id, letter } of seen('offered')) {
    const made = truth.requests.get(id)?.record;
    if (letter !== undefined && made !== undefined) yield* madeOf(letter, truth.requests.get(letter)?.record, made);
  }
}

function* madeOf(letter: string, record: RequestRecord | undefined, made: RequestRecord): Iterable<string> {
  const { id, state, deadline, lane, attempts } = made;
  if (record?.redrivenAs !== id)
    yield `doubled: ${id} was made of ${letter}, which is redriven as ${record?.redrivenAs}`;
  if (record !== undefined && record.lane !== lane) yield `mixed up: ${id} was made of ${letter}, and is ${lane} work`;
  if (deadline !== undefined || state === 'expired' || (state === 'failed' && attempts.length === 0))
    yield `dead letters: ${id} was made of ${letter} and is ${state} after ${attempts.length} attempts, due ${deadline}`;
}

function* discarded({ seen, truth }: Facts): Iterable<string> {
  const gone = new Map<string, { readonly end: number }>();
  for (const { ids, count, end } of seen('discarded')) {
    // Of several some may have been acted on before; which ones is not told.
    if (count !== ids.length) continue;
    for (const id of ids) {
      if (gone.has(id)) yield `doubled: ${id} was removed from the dead letters twice`;
      gone.set(id, { end });
      const record = truth.requests.get(id)?.record;
      if (truth.purged) continue;
      if (record === undefined) yield `lost: ${id} was removed from the dead letters, and its retention is not over`;
      else if (record.state !== 'failed' || record.deadLetter)
        yield `dead letters: ${id} was removed and is ${record.state}, dead letter: ${record.deadLetter}`;
    }
  }
  for (const { from, start } of seen('redriven')) {
    const { end } = gone.get(from) ?? {};
    if (end !== undefined && end < start) yield `dead letters: ${from} was removed, and then redriven`;
  }
}
