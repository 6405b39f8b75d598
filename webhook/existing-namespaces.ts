// SPDX-License-Identifier: Apache-2.0
import type { Cache } from '#kube/cache.ts';
import type { KubeObject } from '#kube/types.ts';
import { OTHER } from './metrics.ts';
import { isServed } from './served-namespaces.ts';
import type { SliceListeners } from './slice-report.ts';

type Told = Pick<SliceListeners, 'metrics' | 'events'>;

/**
 * Whoever reaches the port may send a review of a pod in any namespace: one of a namespace that nobody has made, or whose pods no API
 * server sends, leaves no Event, and takes no series of its own. `own`: the webhook's.
 */
export function forExisting(namespaces: Pick<Cache<KubeObject>, 'get'>, own: string, { metrics, events }: Told): Told {
  const exists = (namespace: string): boolean => isServed(namespace, own) && namespaces.get(namespace) !== undefined;
  return {
    metrics: {
      failed: (code, namespace) => metrics.failed(code, namespace),
      sliced: (report) => metrics.sliced(exists(report.namespace) ? report : { ...report, namespace: OTHER }),
    },
    events: {
      record: (event) => {
        if (exists(event.regarding.metadata.namespace ?? '')) events.record(event);
      },
    },
  };
}
