// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp } from '#crds/inference-app.gen.ts';

/** What a unit is made from: everything `decide` settled. The driver adds how it is run (a Job, a local process). */
export interface UnitPlan {
  /** Name of the unit, a DNS label, unique for ever: <app>-<random>. */
  readonly unit: string;
  readonly app: InferenceApp;
  readonly appUid: string;
  readonly revision: string;
  /** Name of the placement, and the entry of spec.placements (with its overrides) that chose it, if any. */
  readonly placement: string;
}

/** How far a unit has come, as its cluster (or the process table) sees it. */
export type UnitPhase =
  /** Created; not ready yet. */
  | 'Starting'
  | 'Running'
  /** Ended by itself, exit 0. */
  | 'Succeeded'
  | 'Failed';

export type UnitTrouble = 'Unschedulable' | 'ImagePull' | 'Config';

export interface UnitObservation {
  readonly unit: string;
  readonly revision: string;
  readonly placement: string;
  readonly phase: UnitPhase;
  /** Unix ms. */
  readonly createdAt: number;
  /** Unix ms since which it has a place to run (a node; for a process: its start). Absent = it still waits for one. */
  readonly scheduledAt?: number;
  /** Unix ms at which its model first ran; waiting for a node and pulling an image lie before it. */
  readonly startedAt?: number;
  /** Processes or pods that are ready: > 0 forbids removal even when retired, since Job status lags pods. */
  readonly ready: number;
  readonly retired: boolean;
  /** Why it is not running, for people: unschedulable, image pull, exit code. */
  readonly message?: string;
  /** What keeps it from starting, for programs; `message` says it in words. */
  readonly trouble?: UnitTrouble;
  /** The driver could not do its part and tries again when it is asked after this time, even if no change is seen. */
  readonly retryAfterMs?: number;
  /** It asked for a slice of its GPUs, and its pod has whole ones. */
  readonly whole?: boolean;
  /** Its removal was asked for and is under way. */
  readonly leaving: boolean;
}

/**
 * Runs unit actions in one place (a cluster, this machine). Every call is idempotent: a repeat after a crash is harmless.
 * A driver never ends a unit that works: `remove` is only called for units that have finished or were retired by the gateway.
 */
export interface UnitDriver {
  observe(appUid: string, namespace: string): Promise<readonly UnitObservation[]>;
  create(plan: UnitPlan): Promise<void>;
  /** Marks a unit as retired by the gateway: from here on it may be removed. `reason` is one word for people and dashboards. */
  markRetired(namespace: string, unit: string, reason?: string): Promise<void>;
  remove(namespace: string, unit: string): Promise<void>;
  /** Called when something about a unit of this app changed; answers the way to stop. */
  onChange(listener: (appUid: string) => void): () => void;
}
