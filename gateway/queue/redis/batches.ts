// SPDX-License-Identifier: Apache-2.0
import type { Commit } from '../commits.ts';
import { ENQUEUE_CHUNK, OUTCOMES_WEIGHT, RUN_WEIGHT } from '../limits.ts';
import { arrivalsOf } from './answers.ts';
import type { Arrival } from './answers.ts';
import { ENQUEUE_ARGS } from './lua/enqueue.ts';
import { LEASE_ARGS } from './lua/lease.ts';
import { COMPLETION_ARGS } from './lua/scripts.ts';
import { listOf, textOf } from './replies.ts';
import type { Run } from './scripts.ts';
import { TurnBatcher } from './turn-batcher.ts';

/** Calls of one turn that share a script run, whoever makes them. */
export interface Batches {
  readonly arrivals: TurnBatcher<Arrival>;
  readonly leases: TurnBatcher<unknown>;
  readonly completions: TurnBatcher<Commit>;
  readonly outcomes: TurnBatcher<unknown>;
}

export function batchesOf(run: Run): Batches {
  return {
    arrivals: new TurnBatcher({
      perItem: ENQUEUE_ARGS,
      maxWeight: ENQUEUE_CHUNK,
      run: async (app, now, args) => arrivalsOf(args, await run('enqueue', app, now, args)),
    }),
    leases: new TurnBatcher({
      perItem: LEASE_ARGS,
      maxWeight: RUN_WEIGHT,
      run: async (app, now, args) => listOf(await run('lease', app, now, args)),
    }),
    completions: new TurnBatcher({
      perItem: COMPLETION_ARGS,
      maxWeight: RUN_WEIGHT,
      run: async (app, now, args) =>
        listOf(await run('complete', app, now, args)).map((word) => textOf(word) as Commit),
    }),
    outcomes: new TurnBatcher({
      perItem: 1,
      maxWeight: OUTCOMES_WEIGHT,
      run: async (app, now, args) => listOf(await run('outcomes', app, now, args)),
    }),
  };
}
