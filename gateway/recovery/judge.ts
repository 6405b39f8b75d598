// SPDX-License-Identifier: Apache-2.0

/** What is known of one app's queue, from everywhere. */
export interface Sightings {
  /** Generation in the mirror; absent: none was ever written. */
  readonly mirror?: number | undefined;
  /** Highest one that this process was answered, or was told of by a regression. */
  readonly seen?: number | undefined;
  /** What the queue answers now. */
  readonly found: number;
  readonly runs: {
    /** The run of the queue that a gateway noted last; absent in a fresh deployment. */
    readonly mirror?: string | undefined;
    /** The run under which this process has compared this app before. */
    readonly seen?: string | undefined;
    /** The run that answers now. */
    readonly found: string;
  };
}

export type Verdict = { readonly kind: 'sound' } | Trouble;

export type Trouble =
  /** Changes were lost that had been answered: `expected` is the highest generation known. */
  | { readonly kind: 'went-back'; readonly expected: number }
  /**
   * The queue's process was replaced while no gateway lived to compare: the last changes before that, up to one interval of the mirror,
   * may be lost, and nobody can tell.
   */
  | { readonly kind: 'suspect'; readonly expected: number };

/**
 * Generations only grow, whoever changes the queue; so one below what was ever answered proves a loss. The run alone proves nothing:
 * whoever saw it change has compared the numbers on both sides of it.
 */
export function judge({ mirror = 0, seen = 0, found, runs }: Sightings): Verdict {
  const expected = Math.max(mirror, seen);
  if (found < expected) return { kind: 'went-back', expected };
  const witnessed = runs.seen !== undefined || runs.mirror === undefined || runs.mirror === runs.found;
  return witnessed ? { kind: 'sound' } : { kind: 'suspect', expected };
}
