// SPDX-License-Identifier: Apache-2.0
import type { AppDemandWire, DemandReply } from '#base/wire/demand.ts';
import type { ServedApp } from '../apps/app-source.ts';
import { gatewayError, queueUnavailable } from '../errors.ts';
import type { LeaseQueue } from '../queue/lease-queue.ts';
import type { ControlContext } from './context.ts';

/** Apps asked about at once: keeps a fleet of thousands from filling the connection to the queue in one go. */
const DEMAND_CONCURRENCY = 32;

/** GET demand: every app that is served, deleting ones included. @throws ProblemError 503 before the apps are known */
export async function demand({ apps, queue }: ControlContext): Promise<DemandReply> {
  if (!apps.synced()) {
    throw gatewayError('not-ready', 'the gateway has not yet read the list of apps', {
      headers: { 'retry-after': '1' },
    });
  }
  const all = apps.list();
  const answers: AppDemandWire[] = [];
  for (let i = 0; i < all.length; i += DEMAND_CONCURRENCY) {
    const some = all.slice(i, i + DEMAND_CONCURRENCY).map((app) => appDemand(queue, app));
    answers.push(
      ...(await Promise.all(some).catch((err: unknown) => {
        throw queueUnavailable(err);
      })),
    );
  }
  return { apps: answers };
}

async function appDemand(queue: LeaseQueue, { uid, namespace, name, revision }: ServedApp): Promise<AppDemandWire> {
  const { queued, queuedByRevision, leased, oldestQueuedAt, units } = await queue.demand(uid);
  return {
    uid,
    namespace,
    name,
    revision,
    queued,
    queued_by_revision: queuedByRevision,
    leased,
    ...(oldestQueuedAt === undefined ? {} : { oldest_queued_at: oldestQueuedAt }),
    units: units.map(({ unit, revision: own, leases, lastSeenAt, retired }) => ({
      unit,
      revision: own,
      leases,
      last_seen_at: lastSeenAt,
      retired,
    })),
  };
}
