// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import type { AppSource } from '../apps/app-source.ts';
import type { Revocations } from '../auth/revocations.ts';
import type { Sessions, UnitIdentity } from '../auth/sessions.ts';
import type { Waits } from '../client/waits.ts';
import type { Exchange } from '../http/exchange.ts';
import type { GatewayMetrics } from '../metrics.ts';
import type { LeaseQueue } from '../queue/lease-queue.ts';
import type { Recovery } from '../recovery/recovery.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { ByteBudget } from './byte-budget.ts';
import type { LeaseWaiters } from './lease-waiters.ts';

/** What the worker broker works with. */
export interface BrokerContext {
  readonly queue: LeaseQueue;
  readonly store: ObjectStore;
  readonly apps: AppSource;
  readonly sessions: Sessions;
  readonly revocations: Revocations;
  readonly waiters: LeaseWaiters;
  /** Clients that wait for results. */
  readonly waits: Pick<Waits, 'committing'>;
  readonly recovery: Pick<Recovery, 'held'>;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: GatewayMetrics;
  readonly leaseSeconds: number;
  /** Memory for bodies with large results. */
  readonly largeBodies: ByteBudget;
}

/** One call of the broker: who calls comes from the session token, what is asked from the checked body. */
export type BrokerCall<C> = (context: BrokerContext, unit: UnitIdentity, call: C, x: Exchange) => Promise<unknown>;
