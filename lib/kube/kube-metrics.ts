// SPDX-License-Identifier: Apache-2.0
import { counter, gauge, histogram } from '#base/metrics.ts';
import type { Counter, Gauge, Histogram, Registry } from '#base/metrics.ts';

/** Metrics of everything in lib/kube; made once per registry and handed to each part. */
export interface KubeMetrics {
  /** Watches opened after the first one, whatever ended the one before. */
  readonly watchRestarts: Counter<'resource'>;
  /** Lists after the first one: a gap in the watch, or the routine check. */
  readonly relists: Counter<'resource'>;
  /** Unix seconds of the last frame (bookmarks included) of each watch. */
  readonly lastEvent: Gauge<'resource'>;
  readonly cacheObjects: Gauge<'resource'>;
  /** Cache listeners that threw. */
  readonly listenerErrors: Counter<'resource'>;
  readonly queueDepth: Gauge<'controller'>;
  /** Seconds between a key's entry into the queue and the start of its reconcile. */
  readonly queueLatency: Histogram<'controller'>;
  readonly reconcileSeconds: Histogram<'controller'>;
  /** `result`: success, requeue, error, terminal. */
  readonly reconciles: Counter<'controller' | 'result'>;
  /** 1 while this process may act. */
  readonly leader: Gauge<'lease'>;
  /** `result`: written, dropped, failed. */
  readonly events: Counter<'result'>;
}

export function createKubeMetrics(registry: Registry): KubeMetrics {
  const results = ['written', 'dropped', 'failed'].map((result) => ({ result }));
  return {
    watchRestarts: counter(registry, 'penstock_kube_watch_restarts_total', 'Watches opened again', ['resource'], []),
    relists: counter(registry, 'penstock_kube_relist_total', 'Full lists after the first', ['resource'], []),
    lastEvent: gauge(registry, 'penstock_kube_last_event_seconds', 'Unix time of the last watch frame', ['resource']),
    cacheObjects: gauge(registry, 'penstock_kube_cache_objects', 'Objects in the read cache', ['resource']),
    listenerErrors: counter(
      registry,
      'penstock_kube_listener_errors_total',
      'Cache listeners that threw',
      ['resource'],
      [],
    ),
    queueDepth: gauge(registry, 'penstock_kube_queue_depth', 'Keys waiting for a worker', ['controller']),
    queueLatency: histogram(registry, 'penstock_kube_queue_latency_seconds', 'Time a key waited', ['controller']),
    reconcileSeconds: histogram(registry, 'penstock_kube_reconcile_seconds', 'Time of one reconcile', ['controller']),
    reconciles: counter(
      registry,
      'penstock_kube_reconcile_total',
      'Reconciles by result',
      ['controller', 'result'],
      [],
    ),
    leader: gauge(registry, 'penstock_kube_leader', 'Whether this process leads', ['lease']),
    events: counter(registry, 'penstock_kube_events_total', 'Kubernetes Events by result', ['result'], results),
  };
}
