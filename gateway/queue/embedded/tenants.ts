// SPDX-License-Identifier: Apache-2.0
import { LANES } from '../lease-queue.ts';
import type { Lane, TenantShare } from '../lease-queue.ts';
import type { Place } from './pending.ts';

export interface LaneTag {
  /** Virtual time up to which the tenant has had its share. */
  finish: number;
  /** It has no claim on what was before: the lane's virtual time when it last came with work. */
  floor: number;
}

export type VirtualTimes = Record<Lane, number>;

/** A tenant of one app: its share, and how much of it was used. */
export interface Tenant {
  readonly name: string;
  weight: number;
  /** Infinity = no bound, as with `maxQueued`. */
  maxInFlight: number;
  maxQueued: number;
  readonly tags: Readonly<Record<Lane, LaneTag>>;
  queued: number;
  /** Those of the queued that have cost a unit its life. */
  suspects: number;
  inFlight: number;
  /** Where it has ordinary work, eligible or not. */
  readonly places: Set<Place>;
}

export function tagOf(tenant: Tenant, lane: Lane): number {
  const { finish, floor } = tenant.tags[lane];
  return Math.max(finish, floor);
}

export function newTenant(name: string): Tenant {
  const tags = { online: { finish: 0, floor: 0 }, batch: { finish: 0, floor: 0 } };
  return {
    name,
    weight: 1,
    maxInFlight: Infinity,
    maxQueued: Infinity,
    tags,
    queued: 0,
    suspects: 0,
    inFlight: 0,
    places: new Set(),
  };
}

export function setShare(tenant: Tenant, share: TenantShare): void {
  tenant.weight = share.weight;
  tenant.maxInFlight = share.maxInFlight ?? Infinity;
  tenant.maxQueued = share.maxQueued ?? Infinity;
}

/** Whether what is stored of it says anything: of one without work whose tags lie behind, nothing does. */
export function isKnown(tenant: Tenant, virtual: VirtualTimes): boolean {
  return tenant.queued > 0 || tenant.inFlight > 0 || LANES.some((lane) => tagOf(tenant, lane) > virtual[lane]);
}
