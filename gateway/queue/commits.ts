// SPDX-License-Identifier: Apache-2.0
import type { CommitOutcome, Completion } from './lease-queue.ts';

/**
 * Accepts a result also after its lease ran out, as long as the request was not leased again. A result that comes after a cancel is
 * dropped: 'cancelled', and that is the final state.
 * @param onRepeat told, before the answer, the place of each that an earlier call has committed: that one's result counts
 */
export type Complete = (
  app: string,
  unit: string,
  done: readonly Completion[],
  now?: number,
  onRepeat?: (place: number) => void,
) => Promise<readonly CommitOutcome[]>;

/** 'repeated': committed by an earlier call. */
export type Commit = CommitOutcome | 'repeated';

export function commitOutcomes(commits: readonly Commit[], onRepeat?: (place: number) => void): CommitOutcome[] {
  return commits.map((commit, place) => {
    if (commit !== 'repeated') return commit;
    onRepeat?.(place);
    return 'committed';
  });
}
