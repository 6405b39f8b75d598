// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { WireHeld, WireLease } from '#base/wire/broker.ts';
import type { WorkItem } from '../executor.ts';

/** A leased request on its way through the unit. */
export interface HeldItem {
  lease: WireLease;
  /** fetching its body → waiting for a slot → running → its outcome is on the way to the gateway. */
  phase: 'fetching' | 'waiting' | 'running' | 'committing';
  work?: WorkItem;
  readonly abort: AbortController;
  /** Monotonic ms. */
  extendAt: number;
  expiresAt: number;
  /** No longer ours (cancelled, or lost to another unit): never started, never committed. */
  gone: boolean;
}

/** Heartbeats at a third of the lease: two may fail before it runs out. */
const EXTEND_SHARE = 1 / 3;

export function holdLease(lease: WireLease, clock: Clock): HeldItem {
  const item: HeldItem = {
    lease,
    phase: 'fetching',
    abort: new AbortController(),
    extendAt: 0,
    expiresAt: 0,
    gone: false,
  };
  extended(item, clock.monotonic());
  return item;
}

/** The lease holds for its full length from `at`. */
export function extended(item: HeldItem, at: number): void {
  const leaseMs = item.lease.lease_seconds * 1000;
  item.extendAt = at + leaseMs * EXTEND_SHARE;
  item.expiresAt = at + leaseMs;
}

export function heldOf(item: HeldItem): WireHeld {
  return { id: item.lease.id, lease_token: item.lease.lease_token };
}

/** `list` in pieces of at most `size`. */
export function inChunks<T>(list: readonly T[], size: number): readonly (readonly T[])[] {
  const chunks: T[][] = [];
  for (let at = 0; at < list.length; at += size) chunks.push(list.slice(at, at + size));
  return chunks;
}
