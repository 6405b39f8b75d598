// SPDX-License-Identifier: Apache-2.0
import type { InferenceApp, InferenceAppStatus } from '#crds/inference-app.gen.ts';
import type { Reason } from '#crds/names.ts';
import type { AppDemandWire } from '#base/wire/demand.ts';
import type { Random } from '#base/random.ts';
import type { UnitObservation, UnitPlan } from '../units/unit-driver.ts';
import type { Desired } from './desired.ts';

/** Where new units of an app go, or why they can go nowhere. */
export type PlacementChoice =
  | {
      readonly kind: 'chosen';
      readonly name: string;
      /** Time a unit may wait for a node there. */
      readonly scheduleGraceSeconds: number;
      /** Paths of spec fields that this version does not act on. */
      readonly unsupported: readonly string[];
    }
  | {
      readonly kind: 'none';
      readonly reason: Reason;
      readonly message: string;
      readonly unsupported: readonly string[];
    };

/**
 * What one decision leaves for the next of the same app. Derived and kept in memory only: an operator that lost it starts
 * without backoff and cooldown, which costs at most one early attempt.
 */
export interface AppMemory {
  /** Rounds of failed starts in a row. */
  readonly failures: number;
  /** Unix ms. */
  readonly lastFailureAt?: number;
  /** What went wrong last, for people. */
  readonly lastFailure?: string;
  /** Units that were there at the last failure: only a later one can prove that starting works again. */
  readonly presentAtFailure?: readonly string[];
  /** Units whose failure is in `failures` already and that can still be seen. */
  readonly counted: readonly string[];
  /** Unix ms at which units were last really created; set by whoever executed the plan, never by the decision. */
  readonly lastScaleUpAt?: number;
}

export const EMPTY_MEMORY: AppMemory = { failures: 0, counted: [] };

/** Why a unit is retired by the operator; `message` is for people. */
export interface RetireAction {
  readonly type: 'retire';
  readonly unit: string;
  readonly reason: Reason;
  readonly message: string;
}

/** Tells the queue that a unit is gone which did not take leave of it. */
export interface DismissAction {
  readonly type: 'dismiss';
  readonly unit: string;
}

export type UnitAction =
  | { readonly type: 'create'; readonly plan: UnitPlan }
  | RetireAction
  | DismissAction
  | { readonly type: 'remove'; readonly unit: string };

export interface DecideInput {
  readonly app: InferenceApp;
  readonly revision: string;
  /** What the gateway's queue holds for the app; undefined = not known now, see `gatewayProblem`. */
  readonly demand: AppDemandWire | undefined;
  /** Why the demand is not known, for people. */
  readonly gatewayProblem?: string;
  /** What else keeps units from starting here although the spec is valid (an image that this cluster needs). */
  readonly specProblem?: { readonly reason: Reason; readonly message: string };
  readonly units: readonly UnitObservation[];
  readonly placement: PlacementChoice;
  readonly memory: AppMemory;
  /** Unix ms. */
  readonly now: number;
  /** Draws the names of new units. */
  readonly random: Random;
}

export interface Decision {
  readonly actions: readonly UnitAction[];
  readonly status: InferenceAppStatus;
  readonly memory: AppMemory;
  /** When time alone could change the decision; absent = only an event can. */
  readonly requeueAfterMs?: number;
}

/** What is known of the queue at the moment of the decision. */
export type Knowledge =
  | { readonly kind: 'unknown' }
  | {
      readonly kind: 'known';
      readonly demand: AppDemandWire;
      readonly desired: Desired;
      /** Units that this very decision creates. */
      readonly creating: number;
    };
