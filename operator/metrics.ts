// SPDX-License-Identifier: Apache-2.0
import type { InferenceAppStatus } from '#crds/inference-app.gen.ts';
import { counter, gauge } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import type { ActionResult } from './units/cycle.ts';

const PHASES = ['Ready', 'Scaling', 'Held', 'Paused', 'Draining'] as const;
const UNIT_STATES = ['starting', 'ready', 'leaving', 'failed'] as const;

/** Metrics of the operator. Nothing is labelled by app: their number has no bound. */
export interface OperatorMetrics {
  observe(key: string, status: InferenceAppStatus, results: readonly ActionResult[]): void;
  forgetApp(key: string): void;
  placementCost(placement: string, costPerHour: string | undefined): void;
  wakeUp(): void;
}

export interface MetricSources {
  /** Why the gateway counts as unknown, or undefined. */
  readonly gatewayProblem: () => string | undefined;
}

export function createOperatorMetrics(registry: Registry, sources: MetricSources): OperatorMetrics {
  const seen = new Map<string, InferenceAppStatus>();
  gauges(registry, seen, sources);
  const cost = gauge(registry, 'penstock_operator_placement_cost_per_hour', 'Price of a unit', ['placement']);
  const wakes = counter(registry, 'penstock_operator_wake_ups_total', 'Reports of ready work by the gateway', [], [{}]);
  const initial = ['create', 'retire', 'dismiss', 'remove'].flatMap((action) =>
    ['done', 'busy', 'failed'].map((outcome) => ({ action, outcome })),
  );
  const actions = counter(
    registry,
    'penstock_operator_unit_actions_total',
    'Unit actions by outcome',
    ['action', 'outcome'],
    initial,
  );
  return {
    observe: (key, status, results) => {
      seen.set(key, status);
      for (const { action, outcome } of results) actions.inc({ action: action.type, outcome });
    },
    forgetApp: (key) => void seen.delete(key),
    placementCost: (placement, costPerHour) => {
      if (costPerHour === undefined) cost.remove({ placement });
      else cost.set({ placement }, Number(costPerHour));
    },
    wakeUp: () => wakes.inc(),
  };
}

/** Counted when somebody asks: cheaper than at each of many reconciles. */
function gauges(registry: Registry, seen: ReadonlyMap<string, InferenceAppStatus>, sources: MetricSources): void {
  gauge(registry, 'penstock_operator_apps', 'InferenceApps by phase', ['phase'], (apps) => {
    for (const phase of PHASES)
      apps.set({ phase }, [...seen.values()].filter((status) => status.phase === phase).length);
  });
  gauge(registry, 'penstock_operator_units', 'Units by state', ['state'], (units) => {
    for (const state of UNIT_STATES) {
      units.set(
        { state },
        [...seen.values()].reduce((total, status) => total + (status.units?.[state] ?? 0), 0),
      );
    }
  });
  gauge(registry, 'penstock_operator_gateway_up', 'Whether the gateway answers the operator', [], (up) => {
    up.set(sources.gatewayProblem() === undefined ? 1 : 0);
  });
}
