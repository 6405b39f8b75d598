// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Jwks, PrivateJwk } from '#base/issuer.ts';
import type { Logger } from '#base/logger.ts';
import type { Registry } from '#base/metrics.ts';
import type { Random } from '#base/random.ts';
import type { AccessLogger } from './access-log.ts';
import type { AppSource } from './apps/app-source.ts';
import type { AuditLog } from './audit.ts';
import type { OverloadLimits } from './client/overload/limits.ts';
import type { LoadMeasure } from './client/overload/overload.ts';
import type { TenantSource } from './auth/tenants.ts';
import type { Handler, HttpTimeouts } from './http/server.ts';
import type { LeaseQueue } from './queue/lease-queue.ts';
import type { ObjectStore } from './store/object-store.ts';

/** What a gateway is made from. Whoever made queue, store and sources also closes them, after `stop`. */
export interface GatewayDeps {
  readonly queue: LeaseQueue;
  readonly store: ObjectStore;
  readonly apps: AppSource;
  readonly tenants: TenantSource;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** One line per answer; default `logger`. */
  readonly accessLog?: AccessLogger;
  /** Default: none is kept. */
  readonly audit?: AuditLog;
  readonly registry: Registry;
  readonly keys: { readonly ticketKey: Uint8Array; readonly sessionKeys: readonly PrivateJwk[] };
  /** The operator's public keys, read at each use. */
  readonly operatorJwks: () => Jwks;
  /** Serves `/objects/…` on both ports: `createLocalStoreHandler(store, {mount: '/objects'})`. Absent with S3. */
  readonly objects?: Handler;
}

export interface GatewayOptions {
  readonly clientHost: string;
  /** 0 = any free one. */
  readonly clientPort: number;
  readonly internalHost: string;
  readonly internalPort: number;
  /** How long a lease lasts without being extended: how soon the work of a dead unit is given to another one. */
  readonly leaseSeconds: number;
  /** What `/version` says. */
  readonly version: string;
  /** Time between readiness off and the end of listening, for load balancers to notice. */
  readonly lameDuckMs?: number;
  readonly timeouts?: HttpTimeouts;
  /** Other limits and measures of overload, for tests. */
  readonly overload?: { readonly limits?: OverloadLimits; readonly measure?: LoadMeasure };
}

export interface GatewayPorts {
  readonly clientPort: number;
  readonly internalPort: number;
}

export interface Gateway {
  /** For tests and for mounting into another server. */
  readonly clientHandler: Handler;
  /** @throws Error when it would open a port beyond loopback to callers without keys */
  start(): Promise<GatewayPorts>;
  /** Answers who waits (202, empty lease), finishes what runs, stops the sweeps. Accepted requests are in the queue, not here. */
  stop(): Promise<void>;
  /** Why it is not ready, or undefined when it is: for /readyz. */
  notReady(): string | undefined;
  /** Beside ready, for /readyz: the promise that holds for an accepted request, and what somebody should look after. */
  readyNote(): string | undefined;
}
