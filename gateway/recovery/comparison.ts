// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { LeaseQueue, Regression } from '../queue/lease-queue.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { judge } from './judge.ts';
import type { Trouble } from './judge.ts';
import type { RecoveryMetrics } from './metrics.ts';
import type { Mirror } from './mirror.ts';
import type { Runs } from './runs.ts';
import { salvageApp } from './salvage.ts';
import type { Walk } from './salvage.ts';
import type { Slots } from './slots.ts';

/** What the driver saw of one app. */
export type WentBack = Extract<Regression, { readonly kind: 'went-back' }>;

/** The comparing of one app's queue: what has to outlive a failed try. */
export interface Comparison {
  readonly uid: string;
  /** Run of the queue under which it was last found sound, or recovered. */
  settledRun?: string;
  /** What the driver saw, until it is dealt with. */
  told?: WentBack;
  /** The trouble that is being worked on, counted and logged; and where its walk is. */
  trouble?: { readonly kind: Trouble['kind']; readonly walk: Walk };
}

export interface ComparisonOptions {
  readonly queue: Pick<LeaseQueue, 'generations' | 'generation' | 'live' | 'salvage'>;
  readonly store: Pick<ObjectStore, 'list' | 'head'>;
  readonly mirror: Pick<Mirror, 'generation'>;
  readonly runs: Pick<Runs, 'read'>;
  readonly slots: Slots;
  readonly metrics: RecoveryMetrics;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly signal: AbortSignal;
  /** An app's queue went back. */
  readonly onLoss: (app: string) => void;
}

/**
 * Compares what the queue says of an app with what was known of it, and recovers it where it went back.
 * @throws what queue or store threw: to be called again
 */
export async function compareApp(options: ComparisonOptions, of: Comparison): Promise<void> {
  const { queue, mirror, runs, slots } = options;
  const { uid } = of;
  const { current, mirrored } = await runs.read();
  const [noted, answered] = await Promise.all([slots.run(() => mirror.generation(uid)), queue.generation(uid)]);
  // Read after the answer: the driver may have told of a regression with it.
  const { told } = of;
  const found = Math.min(answered, told?.found ?? answered);
  const seen = Math.max(queue.generations().get(uid) ?? 0, told?.seen ?? 0);
  const verdict = judge({
    mirror: noted,
    seen,
    found,
    runs: { mirror: mirrored, seen: of.settledRun, found: current },
  });
  if (verdict.kind !== 'sound') await recover(options, of, verdict, found);
  of.settledRun = current;
  if (of.told === told) delete of.told;
}

/** Whether the queue is now where everything known of it says it should be. */
export async function isSound({ queue, mirror }: ComparisonOptions, uid: string): Promise<boolean> {
  const [noted = 0, found] = await Promise.all([mirror.generation(uid), queue.generation(uid)]);
  return found >= Math.max(noted, queue.generations().get(uid) ?? 0);
}

async function recover(options: ComparisonOptions, of: Comparison, trouble: Trouble, found: number): Promise<void> {
  const { queue, metrics, clock, logger } = options;
  const { uid } = of;
  if (of.trouble === undefined) report(options, uid, trouble, found);
  const { walk } = (of.trouble ??= { kind: trouble.kind, walk: { looked: 0, salvaged: 0 } });
  const before = walk.salvaged;
  const began = clock.monotonic();
  try {
    await salvageApp(options, uid, walk);
  } finally {
    metrics.salvaged(walk.salvaged - before);
  }
  // After the walk: a gateway that is killed in it leaves the loss to be found again.
  if (trouble.kind === 'went-back') await queue.generation(uid, trouble.expected + 1);
  const { looked, salvaged } = walk;
  const seconds = (clock.monotonic() - began) / 1000;
  logger.info(
    { app: uid, looked, salvaged, seconds },
    'unfinished requests were compared with the results in the store',
  );
  delete of.trouble;
}

function report(
  { metrics, logger, onLoss }: ComparisonOptions,
  app: string,
  { kind, expected: seen }: Trouble,
  found: number,
): void {
  metrics.regressed(kind);
  if (kind === 'suspect') {
    logger.info({ app, seen, found }, 'the queue was restarted while no gateway saw it: its end may be lost');
    return;
  }
  logger.error({ app, seen, found }, 'the queue went back: accepted requests may be lost');
  onLoss(app);
}
