// SPDX-License-Identifier: Apache-2.0
import { backoffDelay } from '#base/backoff.ts';
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import type { AppSource, ServedApp } from '../apps/app-source.ts';
import { MAX_BATCH } from '../queue/limits.ts';
import type { LeaseQueue, TenantShare } from '../queue/lease-queue.ts';
import type { Sweep } from '../sweeps.ts';
import type { Policies, TenantSource } from './tenants.ts';

const RETRY = { firstMs: 1_000, maxMs: 30_000, factor: 2 };

export interface ShareUpdatesOptions {
  readonly tenants: Pick<TenantSource, 'policies' | 'strangers' | 'onChange'>;
  readonly apps: Pick<AppSource, 'list' | 'onChange' | 'synced'>;
  readonly queue: Pick<LeaseQueue, 'setShares'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
}

/**
 * Tells the queue of changed shares: each submit carries the tenant's share, but work that waits already is to go by the new one, too.
 * Once at the start (the document may have changed while no gateway ran), then after each change; again until it has succeeded. Every
 * replica does it, which changes nothing the second time.
 */
export function startShareUpdates(options: ShareUpdatesOptions): Sweep {
  const { tenants, apps, queue, clock, random, logger } = options;
  const stopping = new AbortController();
  /** What the queue has heard of in full; undefined = nobody knows. */
  let told: Policies | undefined;
  let running: Promise<void> | undefined;

  const tell = async (target: Policies): Promise<void> => {
    const names = [...new Set([...(told?.names() ?? []), ...target.names(), ...(tenants.strangers?.() ?? [])])];
    for (const app of apps.list()) {
      const shares = changedShares(app, names, told, target);
      for (let i = 0; i < shares.length; i += MAX_BATCH) {
        await queue.setShares(app.uid, new Map(shares.slice(i, i + MAX_BATCH)));
        if (stopping.signal.aborted) return;
      }
    }
    told = target;
  };
  const work = async (): Promise<void> => {
    for (let failures = 0; !stopping.signal.aborted && told !== tenants.policies();) {
      try {
        await tell(tenants.policies());
        failures = 0;
      } catch (err) {
        logger.warn({ err }, 'the queue could not be told of changed shares; it is told again');
        await clock.sleep(backoffDelay(RETRY, failures, random), stopping.signal).catch(() => undefined);
        failures += 1;
      }
    }
  };
  const run = (): void => {
    // Before the apps are known nothing can be told; their arrival starts it again.
    if (running !== undefined || stopping.signal.aborted || !apps.synced() || told === tenants.policies()) return;
    running = work().then(() => {
      running = undefined;
      run();
    });
  };
  const forget = [tenants.onChange?.(run), apps.onChange(run)];
  run();
  return {
    stop: async () => {
      for (const off of forget) off?.();
      stopping.abort();
      await running;
    },
  };
}

function changedShares(
  app: ServedApp,
  names: readonly string[],
  before: Policies | undefined,
  after: Policies,
): (readonly [string, TenantShare])[] {
  const changed: (readonly [string, TenantShare])[] = [];
  for (const name of names) {
    const [old, now] = [before?.of(name), after.of(name)];
    // Who may call an app no more can still have work in it.
    if (!now.mayCall(app) && old?.mayCall(app) !== true) continue;
    const share = now.shareFor(app);
    if (old === undefined || !isSame(old.shareFor(app), share)) changed.push([name, share]);
  }
  return changed;
}

function isSame(a: TenantShare, b: TenantShare): boolean {
  return a.weight === b.weight && a.maxInFlight === b.maxInFlight && a.maxQueued === b.maxQueued;
}
