// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import type { AppSource } from '../apps/app-source.ts';
import type { LeaseQueue } from '../queue/lease-queue.ts';
import type { Sweep } from '../sweeps.ts';
import type { Mirror } from './mirror.ts';
import type { Runs } from './runs.ts';
import type { Slots } from './slots.ts';

/** How far the mirror may be behind: what was changed in that time is lost unnoticed if queue and gateways die together. */
const INTERVAL_MS = 5_000;
/** For the last entries when the gateway stops; a store that is away does not keep it. */
const LAST_ENTRIES_MS = 2_000;

export interface ReflectionOptions {
  readonly queue: Pick<LeaseQueue, 'generations'>;
  readonly apps: Pick<AppSource, 'byUid'>;
  readonly mirror: Mirror;
  readonly runs: Runs;
  readonly slots: Slots;
  /** Every app was compared under this run: only then may the restart be forgotten. */
  readonly isSettled: (run: string) => boolean;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/** Writes what changed of the queue's generations into the mirror every few seconds, and once more when it stops. At rest it writes nothing. */
export function startReflection(options: ReflectionOptions): Sweep {
  const { clock, random, logger } = options;
  const stopping = new AbortController();
  let failing = false;

  const step = async (): Promise<void> => {
    try {
      await reflect(options);
      failing = false;
    } catch (err) {
      if (!failing) logger.warn({ err }, 'the queue’s generations could not be noted in the object store');
      failing = true;
    }
  };
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      // Never later than the interval; replicas spread out.
      await clock.sleep(INTERVAL_MS * (0.5 + random.fraction() / 2), stopping.signal).catch(() => undefined);
      if (!stopping.signal.aborted) await step();
    }
  };
  const running = run();
  return {
    stop: async () => {
      stopping.abort(new Error('the gateway stops'));
      await running;
      const over = new AbortController();
      await Promise.race([step(), clock.sleep(LAST_ENTRIES_MS, over.signal).catch(() => undefined)]);
      over.abort();
    },
  };
}

/** An app that is being deleted is left to its purge, which takes its entry away. */
async function reflect({ queue, apps, mirror, runs, slots, isSettled }: ReflectionOptions): Promise<void> {
  mirror.retain((uid) => apps.byUid(uid) !== undefined);
  const known = [...queue.generations()].filter(([uid]) => apps.byUid(uid)?.deleting === false);
  await Promise.all(known.map(([uid, generation]) => slots.run(() => mirror.raise(uid, generation))));
  const run = runs.unnoted();
  if (run !== undefined && isSettled(run)) await runs.note(run);
}
