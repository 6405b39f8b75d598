// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import type { Logger } from '#base/logger.ts';
import { silentLogger } from '#base/logger.ts';
import { systemClock } from '#base/clock.ts';
import { createRegistry } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import { systemRandom } from '#base/random.ts';
import { createKubeClient } from '#kube/client.ts';
import type { KubeClient } from '#kube/client.ts';
import type { CacheEvent } from '#kube/cache.ts';
import type { KubeDeps } from '#kube/informer.ts';
import { createKubeMetrics } from '#kube/kube-metrics.ts';
import { PooledKubeConfig } from '#kube/pooled-config.ts';
import { NAMESPACES } from '#kube/resource.ts';
import type { Resource } from '#kube/resource.ts';
import { createTransport } from '#kube/transport.ts';
import type { KubeObject } from '#kube/types.ts';

export const SERVICE_ACCOUNTS: Resource = {
  group: '',
  version: 'v1',
  kind: 'ServiceAccount',
  plural: 'serviceaccounts',
  namespaced: true,
};

export interface ConfigMap extends KubeObject {
  readonly data?: Record<string, string>;
}

export interface Fixture extends KubeDeps {
  readonly registry: Registry;
  /** Sum of a counter over its labels. */
  count(metric: string): Promise<number>;
}

/** A client with everything it needs; `server` sends it another way (a proxy). */
export function aFixture(kubeconfig: string, server?: string, logger: Logger = silentLogger): Fixture {
  const config = PooledKubeConfig.load(kubeconfig);
  if (server !== undefined) config.clusters = config.clusters.map((cluster) => ({ ...cluster, server }));
  const registry = createRegistry('test', false);
  const client = createKubeClient(createTransport(config));
  const count = async (metric: string): Promise<number> => {
    const found = await registry.getSingleMetric(metric)?.get();
    return (found?.values ?? []).reduce((sum, { value }) => sum + value, 0);
  };
  return {
    client,
    clock: systemClock,
    random: systemRandom,
    logger,
    metrics: createKubeMetrics(registry),
    registry,
    count,
  };
}

/** A namespace of the test's own. */
export async function aNamespace(client: KubeClient, prefix: string): Promise<string> {
  const name = `${prefix}-${randomBytes(4).toString('hex')}`;
  await client.create(NAMESPACES, { metadata: { name } });
  return name;
}

export function aConfigMap(namespace: string, name: string, data: Record<string, string> = {}): ConfigMap {
  return { metadata: { namespace, name }, data };
}

/** `add a`, `update b`, … in order, names without their namespace. */
export function story(events: readonly CacheEvent<KubeObject>[]): string[] {
  return events.map(({ type, key }) => `${type} ${key.slice(key.indexOf('/') + 1)}`);
}
