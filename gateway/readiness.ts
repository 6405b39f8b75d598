// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '#base/logger.ts';
import type { AppSource } from './apps/app-source.ts';
import { PING_INTERVAL_MS } from './limits.ts';
import type { LeaseQueue } from './queue/lease-queue.ts';
import type { ObjectStore } from './store/object-store.ts';

export interface Readiness {
  /** Why not, or undefined. */
  readonly notReady: () => string | undefined;
  /** Looks for the first time, then on a timer. */
  start(): Promise<void>;
  /** Not ready from here on. */
  stop(): void;
}

export interface ReadinessOptions {
  readonly queue: Pick<LeaseQueue, 'ping'>;
  readonly store: Pick<ObjectStore, 'ping'>;
  readonly apps: Pick<AppSource, 'synced'>;
  readonly logger: Logger;
}

/** Ready = it would accept a request: apps are known, queue and store answer. Asked on a timer, so that a probe costs nothing. */
export function createReadiness({ queue, store, apps, logger }: ReadinessOptions): Readiness {
  let why: string | undefined = 'starting';
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;

  const look = async (): Promise<void> => {
    const before = why;
    const [queueWhy, storeWhy] = await Promise.all([ping('queue', queue), ping('object store', store)]);
    if (stopped) return;
    why = queueWhy ?? storeWhy;
    if (why !== before) {
      if (why === undefined) logger.info({}, 'queue and object store can be reached');
      else logger.warn({ why }, 'not ready');
    }
    timer = setTimeout(() => void look(), PING_INTERVAL_MS).unref();
  };

  return {
    notReady: () => why ?? (apps.synced() ? undefined : 'the list of apps has not been read yet'),
    start: look,
    stop: () => {
      stopped = true;
      clearTimeout(timer);
      why = 'stopping';
    },
  };
}

async function ping(name: string, target: { ping(): Promise<void> }): Promise<string | undefined> {
  try {
    await target.ping();
    return undefined;
  } catch (err) {
    return `the ${name} cannot be reached: ${err instanceof Error ? err.message : String(err)}`;
  }
}
