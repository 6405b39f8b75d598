// SPDX-License-Identifier: Apache-2.0
import { counter, gauge, histogram } from '#base/metrics.ts';
import type { Gauge, Registry } from '#base/metrics.ts';
import type { Outcome } from './executor.ts';

export interface UnitMetrics {
  readonly held: Gauge;
  count(outcome: Outcome): void;
}

export function createUnitMetrics(registry: Registry): UnitMetrics {
  const outcomes = ['succeeded', 'handler', 'input', 'timeout', 'returned'].map((outcome) => ({ outcome }));
  const requests = counter(registry, 'penstock_worker_requests_total', 'Requests run here.', ['outcome'], outcomes);
  const service = histogram(registry, 'penstock_worker_service_seconds', "A request's share of the model's time.");
  return {
    held: gauge(registry, 'penstock_worker_held', 'Requests leased and not yet off our hands.'),
    count: (outcome) => {
      requests.inc({ outcome: outcome.kind === 'failed' ? outcome.failure.kind : outcome.kind });
      if (outcome.kind === 'succeeded') service.observe(outcome.serviceMicros / 1e6);
    },
  };
}
