// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { LeaseQueue, RequestRecord } from '../../queue/lease-queue.ts';
import { asked } from './access.ts';
import type { Selection } from './filter.ts';

/** Letters looked at by one call of the queue: as many as one call of it redrives. */
const STEP = 256;
/** A call goes on for so long at most; its caller comes back with the cursor. */
const CALL_LIMIT_MS = 2_000;

/**
 * Matching letters in portions, oldest death first, `selection.limit` in all at most.
 * @returns the queue's cursor where more may follow
 */
export async function eachPortion(
  { queue, clock }: { readonly queue: Pick<LeaseQueue, 'deadLetters'>; readonly clock: Pick<Clock, 'monotonic'> },
  app: string,
  selection: Selection,
  act: (letters: readonly RequestRecord[]) => Promise<void> | void,
): Promise<string | undefined> {
  const until = clock.monotonic() + CALL_LIMIT_MS;
  let { cursor } = selection;
  let left = selection.limit;
  for (;;) {
    // Never more than are still wanted: a cursor stands behind what was looked at.
    const page = await asked(() => queue.deadLetters(app, selection.filter, Math.min(STEP, left), cursor));
    cursor = page.cursor;
    left -= page.letters.length;
    if (page.letters.length > 0) await act(page.letters);
    if (cursor === undefined || left <= 0 || clock.monotonic() >= until) return cursor;
  }
}
