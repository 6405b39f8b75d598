// SPDX-License-Identifier: Apache-2.0
import type { Placement, PlacementStatus } from '#crds/placement.gen.ts';
import { CONDITIONS, FIELD_MANAGER, REASONS } from '#crds/names.ts';
import type { Clock } from '#base/clock.ts';
import { applyStatusIfChanged } from '#kube/apply.ts';
import type { Cache } from '#kube/cache.ts';
import type { KubeClient } from '#kube/client.ts';
import type { Reconcile } from '#kube/controller.ts';
import type { EventRecorder } from '#kube/events.ts';
import { PLACEMENTS } from '#kube/resource.ts';
import { toConditions } from '../decide/conditions.ts';
import { placementProblem } from '../decide/placement.ts';
import type { OperatorMetrics } from '../metrics.ts';

export interface PlacementReconcilerDeps {
  readonly client: KubeClient;
  readonly placements: Cache<Placement>;
  readonly events: Pick<EventRecorder, 'record'>;
  readonly metrics: OperatorMetrics;
  readonly clock: Clock;
}

/** Says in a Placement's status whether it can take units. */
export function createPlacementReconciler(deps: PlacementReconcilerDeps): Reconcile {
  return async (key) => {
    const placement = deps.placements.get(key);
    deps.metrics.placementCost(key, placement?.spec.costPerHour);
    if (placement === undefined || placement.metadata.deletionTimestamp !== undefined) return;
    const status = placementStatus(placement, deps.clock.now());
    if (placement.status?.state !== status.state) {
      const misconfigured = status.state === 'Misconfigured';
      deps.events.record({
        regarding: placement,
        type: misconfigured ? 'Warning' : 'Normal',
        reason: misconfigured ? REASONS.misconfigured : REASONS.open,
        action: 'Check',
        note: status.reason ?? '',
      });
    }
    await applyStatusIfChanged(deps.client, PLACEMENTS, placement, status, FIELD_MANAGER);
  };
}

export function placementStatus(placement: Placement, now: number): PlacementStatus {
  const { generation } = placement.metadata;
  const problem = placementProblem(placement);
  const reason = problem ?? 'units of the allowed namespaces may run here';
  const finding = {
    type: CONDITIONS.ready,
    status: problem === undefined ? 'True' : 'False',
    reason: problem === undefined ? REASONS.open : REASONS.misconfigured,
    message: reason,
  } as const;
  return {
    state: problem === undefined ? 'Open' : 'Misconfigured',
    reason,
    conditions: toConditions([finding], placement.status?.conditions, generation, now),
    ...(generation === undefined ? {} : { observedGeneration: generation }),
  };
}
