// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import { explain } from '../errors.ts';
import type { VramError } from '../errors.ts';
import { sweep } from './lifecycle.ts';
import type { LedgerView } from './ledger.ts';
import type { Session, SessionStore } from './store.ts';

/** A session and what its processes hold, or why it cannot be told. */
export type Overview =
  | { readonly name: string; readonly session: Session; readonly ledger: LedgerView; readonly problem?: never }
  | { readonly name: string; readonly problem: VramError; readonly session?: never; readonly ledger?: never };

/** Whoever only looks does not wait for long: what is shown without tidying up first is as true. */
const LOOK_WAIT_MS = 1000;

/** Sessions that are over go first, where nobody else is at it. */
export function tidy(store: SessionStore, clock: Pick<Clock, 'now'>): void {
  try {
    store.locked(() => sweep(store, clock), LOOK_WAIT_MS);
  } catch (err) {
    // Also on a full disk, and a read-only one, there is something to see.
    const code = explain(err)?.code;
    if (code !== 'busy' && code !== 'storage') throw err;
  }
}

/** Sessions in order of their names; one that goes away meanwhile is left out. */
export function overviews(store: SessionStore, names = store.names()): Overview[] {
  return names.flatMap((name): Overview[] => {
    try {
      const session = store.open(name);
      return [{ name, session, ledger: store.ledgerOf(session) }];
    } catch (err) {
      const problem = explain(err);
      if (problem === undefined) throw err;
      return store.exists(name) ? [{ name, problem }] : [];
    }
  });
}
