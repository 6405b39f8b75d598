// SPDX-License-Identifier: Apache-2.0
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';

export const DRIVERS = ['embedded', 'redis'] as const;
export type Driver = (typeof DRIVERS)[number];

/** A gateway's own way to the queue. */
export interface QueueHandle {
  readonly queue: LeaseQueue;
  /** Part of the chunks between this gateway and the queue's server that meet a fault. */
  setRate(rate: number): void;
  /** The gateway's process is gone, at this very moment: nothing of it reaches the queue any more. */
  sever(): void;
}

/** Where a schedule's queue lives. */
export interface Backend {
  /** How many gateways may share it at once. */
  readonly gateways: number;
  open(): Promise<QueueHandle>;
  /** A sound view of the queue as it is now. */
  view(): LeaseQueue;
  /** Opens the queue for `view` where the last gateway that had it has died; absent where it lives by itself. */
  revive?(): void;
  /** Forgets every script, cached functions included; absent where there are none. */
  flushScripts?(): Promise<void>;
  /**
   * What is stored beyond the bookkeeping of an app that lives on and has no request left, or, after a purge, beyond what says that the
   * app is gone.
   */
  leftovers(of: 'app' | 'purged'): Promise<readonly string[]>;
  close(): Promise<void>;
}
