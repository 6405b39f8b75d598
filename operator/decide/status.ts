// SPDX-License-Identifier: Apache-2.0
import type { InferenceAppStatus } from '#crds/inference-app.gen.ts';
import { LABELS } from '#crds/names.ts';
import { shorten, timestamp, toConditions } from './conditions.ts';
import { findings, unsupportedPaths } from './findings.ts';
import { liveUnits } from './fleet.ts';
import type { Fleet } from './fleet.ts';
import { phaseOf } from './phase.ts';
import type { DecideInput, Knowledge } from './types.ts';

/** The whole status of an app. Times only, no ages: at rest two decisions give the same bytes. */
export function appStatus(input: DecideInput, fleet: Fleet, known: Knowledge): InferenceAppStatus {
  const { app, placement } = input;
  const { generation, uid } = app.metadata;
  const { phase, reason } = phaseOf(input, fleet, known);
  const status: InferenceAppStatus = {
    phase,
    reason: shorten(reason),
    revision: input.revision,
    replicas: liveUnits(fleet).length,
    selector: `${LABELS.appUid}=${uid ?? ''}`,
    units: {
      starting: fleet.starting.length,
      ready: fleet.serving.length,
      leaving: fleet.leaving.length,
      failed: fleet.failed.length,
    },
    conditions: toConditions(
      findings(input, fleet, known, phase, reason),
      app.status?.conditions,
      generation,
      input.now,
    ),
  };
  if (generation !== undefined) status.observedGeneration = generation;
  if (placement.kind === 'chosen') status.activePlacement = placement.name;
  const unsupported = unsupportedPaths(input, fleet);
  if (unsupported.length > 0) status.unsupportedFields = unsupported.toSorted();
  if (known.kind === 'known') {
    status.queue = { queued: known.demand.queued, leased: known.demand.leased };
    const { oldest_queued_at: oldest } = known.demand;
    if (oldest !== undefined) status.oldestRequestTime = timestamp(oldest);
  }
  return status;
}
