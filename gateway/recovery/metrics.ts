// SPDX-License-Identifier: Apache-2.0
import { counter, gauge } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import type { Trouble } from './judge.ts';

export interface RecoveryMetrics {
  readonly regressed: (kind: Trouble['kind']) => void;
  readonly salvaged: (count: number) => void;
}

/** @param held how many apps' leases are held back now */
export function createRecoveryMetrics(registry: Registry, held: () => number): RecoveryMetrics {
  const regressions = counter(
    registry,
    'penstock_queue_regressions_total',
    'Apps whose queue went back in time, and apps whose queue restarted while no gateway saw it (suspect). Each replica counts.',
    ['kind'],
    [{ kind: 'went-back' }, { kind: 'suspect' }],
  );
  const salvaged = counter(
    registry,
    'penstock_recovery_salvaged_total',
    'Requests finished with a result that lay in the object store while the queue had lost its end.',
  );
  gauge(registry, 'penstock_recovery_held_apps', 'Apps that get no leases until their queue is compared.', [], (one) =>
    one.set(held()),
  );
  return { regressed: (kind) => regressions.inc({ kind }), salvaged: (count) => salvaged.inc(count) };
}
