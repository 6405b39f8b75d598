// SPDX-License-Identifier: Apache-2.0
import type { AppDemand } from '../lease-queue.ts';
import { RETIRED_MEMORY_MS, RETIRED_SHOWN_MS } from '../limits.ts';
import type { AppState } from './app-state.ts';
import type { Unit } from './units.ts';

export function demandOf(app: AppState | undefined, now: number): AppDemand {
  if (app === undefined) return { queued: 0, queuedByRevision: {}, leased: 0, units: [] };
  const { pending } = app.fair;
  const queuedByRevision = pending.queuedByRevision();
  const oldestQueuedAt = pending.oldestAt();
  const isShown = ({ retired, forgetAt }: Unit): boolean =>
    !retired || forgetAt >= now + RETIRED_MEMORY_MS - RETIRED_SHOWN_MS;
  const units = [...app.units.all()]
    .filter(isShown)
    .map(({ unit, revision, leases, lastSeenAt, retired }) => ({ unit, revision, leases, lastSeenAt, retired }));
  return {
    queued: Object.values(queuedByRevision).reduce((sum, one) => sum + one, 0),
    queuedByRevision,
    leased: app.leases.size,
    ...(oldestQueuedAt === undefined ? {} : { oldestQueuedAt }),
    units,
  };
}
