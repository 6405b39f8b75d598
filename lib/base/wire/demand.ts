// SPDX-License-Identifier: Apache-2.0
/** The operator's wire to the gateway, /internal/v1, JWT of the operator's own key with audience penstock-internal. */

/** GET demand: every app the gateway serves. GET demand/stream: text/event-stream, event `wake` with data {"app": uid}, comment heartbeats. */
export interface DemandReply {
  readonly apps: readonly AppDemandWire[];
}

export interface AppDemandWire {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  readonly revision: string;
  readonly queued: number;
  readonly queued_by_revision: Readonly<Record<string, number>>;
  readonly leased: number;
  /** Unix ms. */
  readonly oldest_queued_at?: number;
  readonly units: readonly UnitWire[];
}

export interface UnitWire {
  readonly unit: string;
  readonly revision: string;
  readonly leases: number;
  readonly last_seen_at: number;
  readonly retired: boolean;
}

/** POST units/{unit}/retire: 200 retired, 409 `unit-busy` while it holds a live lease. */
export interface RetireCall {
  readonly app: string;
}

/**
 * POST revoke: refuses credentials before their end, whatever their unit does; either `jti` (one session) or `app` and `unit` (its unit
 * token and all its sessions). What a revoked unit holds runs out and is run again elsewhere.
 */
export interface RevokeCall {
  readonly jti?: string;
  readonly app?: string;
  readonly unit?: string;
}

export interface RevokeReply {
  readonly revoked: true;
  /** Of a unit: whether it was retired too. False: it holds leases that have yet to run out. */
  readonly retired?: boolean;
}

/** Comment heartbeat on the wake-up stream: a silent stream is a dead one after three of them. */
export const WAKE_HEARTBEAT_MS = 10_000;
