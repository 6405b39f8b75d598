// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import { ObjectCache } from './cache.ts';
import type { Cache } from './cache.ts';
import type { KubeClient } from './client.ts';
import type { KubeMetrics } from './kube-metrics.ts';
import { createReflector } from './reflector.ts';
import type { Reflector } from './reflector.ts';
import { resourceName } from './resource.ts';
import type { Resource } from './resource.ts';
import type { KubeObject } from './types.ts';

/** What the parts of lib/kube share within one process and one cluster. */
export interface KubeDeps {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: KubeMetrics;
}

export interface InformerOptions<T extends KubeObject> {
  readonly resource: Resource;
  /** Absent: all namespaces. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** See ReflectorOptions. */
  readonly keep?: (object: T) => T;
  readonly index?: (object: T) => readonly string[];
  /** See ReflectorOptions. */
  readonly silenceLimitMs?: number;
  readonly pageLimit?: number;
}

/** A read cache that a reflector keeps equal to the API server: start, wait for `cache.synced()`, read, stop. */
export interface Informer<T extends KubeObject> extends Reflector {
  readonly cache: Cache<T>;
}

export function createInformer<T extends KubeObject>(deps: KubeDeps, options: InformerOptions<T>): Informer<T> {
  const { index, ...scope } = options;
  const name = resourceName(options.resource);
  const cache = new ObjectCache<T>({ name, logger: deps.logger, metrics: deps.metrics, ...(index ? { index } : {}) });
  const reflector = createReflector<T>({ ...deps, ...scope, sink: cache });
  return {
    cache,
    start: () => reflector.start(),
    stop: () => reflector.stop(),
    trouble: () => reflector.trouble(),
  };
}
