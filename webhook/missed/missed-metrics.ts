// SPDX-License-Identifier: Apache-2.0
import { counter, gauge } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import { MISSED_KINDS } from './missed-slice.ts';
import type { MissedKind } from './missed-slice.ts';

export interface MissedMetrics {
  /** Result of a look at all pods, at this Unix ms. */
  looked(counts: ReadonlyMap<MissedKind, number>, now: number): void;
  /** One pod was told of for the first time. */
  told(kind: MissedKind): void;
  /** Another replica looks now. */
  forget(): void;
}

export function createMissedMetrics(registry: Registry): MissedMetrics {
  const present = gauge(
    registry,
    'penstock_webhook_missed_pods',
    'Pods that passed by the webhook and are still there, by what they lack; only of the replica that looks',
    ['kind'],
  );
  const told = counter(
    registry,
    'penstock_webhook_missed_pods_total',
    'Pods found to have passed by the webhook',
    ['kind'],
    MISSED_KINDS.map((kind) => ({ kind })),
  );
  const looked = gauge(
    registry,
    'penstock_webhook_missed_looked_seconds',
    'Unix time of the last look at all pods; only of the replica that looks',
  );
  // A gauge without labels begins at 0, which would be a look in 1970.
  looked.remove({});
  return {
    looked: (counts, now) => {
      for (const kind of MISSED_KINDS) present.set({ kind }, counts.get(kind) ?? 0);
      looked.set(now / 1000);
    },
    told: (kind) => told.inc({ kind }),
    forget: () => {
      present.reset();
      looked.remove({});
    },
  };
}
