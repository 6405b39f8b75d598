// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import type { AppSource } from '../apps/app-source.ts';
import type { AuditLog } from '../audit.ts';
import type { TenantSource } from '../auth/tenants.ts';
import type { GatewayMetrics } from '../metrics.ts';
import type { EnqueueOutcome, LeaseQueue, NewRequest } from '../queue/lease-queue.ts';
import type { RateLimiter } from '../ratelimit.ts';
import type { ObjectStore } from '../store/object-store.ts';
import type { TenantMetrics } from '../tenant-metrics.ts';
import type { Cursors } from '../tickets/cursor.ts';
import type { Tickets } from '../tickets/ticket.ts';
import type { Overload } from './overload/overload.ts';
import type { BodyChecks } from './schema/body-checks.ts';
import type { Waits } from './waits.ts';

/** What the client API works with. */
export interface ClientContext {
  readonly queue: LeaseQueue;
  readonly enqueue: (request: NewRequest) => Promise<EnqueueOutcome>;
  readonly store: ObjectStore;
  readonly apps: AppSource;
  readonly tenants: TenantSource;
  readonly limiter: RateLimiter;
  readonly tickets: Tickets;
  readonly cursors: Cursors;
  readonly waits: Waits;
  readonly checks: BodyChecks;
  readonly overload: Overload;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly audit: AuditLog;
  readonly metrics: GatewayMetrics;
  readonly tenantMetrics: TenantMetrics;
}
