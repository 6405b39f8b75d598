// SPDX-License-Identifier: Apache-2.0
import { ProblemError } from '#base/problem.ts';
import { callerOf } from '../../audit.ts';
import type { AuditAction } from '../../audit.ts';
import type { Exchange } from '../../http/exchange.ts';
import type { RequestRecord } from '../../queue/lease-queue.ts';
import type { ClientContext } from '../context.ts';
import type { Access } from './access.ts';
import type { Selection } from './filter.ts';
import { eachPortion } from './pages.ts';

/** @param count of them that something became of, where others may have acted on some since they were listed */
export type Done = (letters: readonly RequestRecord[], count: number) => void;

/** A call that acts on all letters of a selection. */
export interface Bulk {
  readonly action: AuditAction;
  /** What becomes of a letter. */
  readonly result: 'redriven' | 'discarded';
  readonly selection: Selection;
  /** Tells `done` of letters as soon as something became of them: it may fail at the next. */
  readonly act: (letters: readonly RequestRecord[], done: Done) => Promise<void>;
}

/**
 * Acts in portions. The audit log hears what was done also when a later portion fails, or the caller does.
 * @returns the queue's cursor where more may follow
 * @throws ProblemError of `act` and of the queue
 */
export async function actOnMany(
  x: Exchange,
  context: ClientContext,
  { app, tenant }: Access,
  { action, result, selection, act }: Bulk,
): Promise<string | undefined> {
  // As many as one call may select: `CALL_MAX`.
  const requests: string[] = [];
  let count = 0;
  let asking: readonly RequestRecord[] = [];
  let outcome: string = 'internal';
  let more = true;
  try {
    const cursor = await eachPortion(context, app.uid, selection, async (letters) => {
      asking = letters;
      await act(letters, (some, became) => {
        requests.push(...some.map(({ id }) => id));
        count += became;
      });
      asking = [];
    });
    [outcome, more] = [result, cursor !== undefined];
    return cursor;
  } catch (err) {
    if (err instanceof ProblemError) outcome = err.code;
    throw err;
  } finally {
    // A queue that did not answer may have done it all the same.
    const unsure = outcome === 'queue-unavailable' ? asking.map(({ id }) => id) : [];
    context.audit.record({
      ...callerOf(x, tenant),
      action,
      object: { app: app.uid, ...selection.filter },
      result: outcome,
      after: { [result]: count, more, requests, ...(unsure.length === 0 ? {} : { unsure }) },
    });
  }
}
