// SPDX-License-Identifier: Apache-2.0
// What the decision on a pod needs to know of the cluster: nodes, policy, namespaces, versions. Watched, and read without waiting.
import type { Registry } from '#base/metrics.ts';
import { counter } from '#base/metrics.ts';
import { OBJECTS } from '#crds/names.ts';
import type { Placement } from '#crds/placement.gen.ts';
import type { Cache } from '#kube/cache.ts';
import type { EventRecorder } from '#kube/events.ts';
import { createInformer } from '#kube/informer.ts';
import type { KubeDeps } from '#kube/informer.ts';
import { orAbort } from '#kube/or-abort.ts';
import { CONFIG_MAPS, NAMESPACES, NODES, PLACEMENTS } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import { createNodeInventory } from '../nodes/inventory.ts';
import { toNodeFacts } from '../nodes/node-facts.ts';
import type { NodeFacts } from '../nodes/node-facts.ts';
import { createPolicyStore } from '../policy/policy-store.ts';
import type { PolicyConfigMap, PolicyStore } from '../policy/policy-store.ts';
import { decide } from '../policy/policy.ts';
import type { SliceDeps } from '../slice/context.ts';
import { createDelivery } from './delivery.ts';
import { createNamespaceLabels, namespaceFacts } from './namespaces.ts';
import type { NamespaceLabels } from './namespaces.ts';
import { createServerVersion } from './server-version.ts';

export interface ClusterDeps extends KubeDeps {
  /** Penstock's own: where the ConfigMap with the policy is. */
  readonly namespace: string;
  /** Reference of penstock-vram. */
  readonly vramImage: string;
  readonly pullPolicy?: 'Always' | 'IfNotPresent' | 'Never';
  readonly events: Pick<EventRecorder, 'record'>;
  readonly registry: Registry;
}

export interface Cluster extends Pick<SliceDeps, 'inventory' | 'policy' | 'policyUnread' | 'delivery' | 'settings'> {
  /** To be waited for before a pod of this namespace is decided on; undefined when there is nothing to wait for. Never rejects. */
  prepare(namespace: string): Promise<void> | undefined;
  readonly placements: Cache<Placement>;
  /** Names and labels only. */
  readonly namespaces: Cache<KubeObject>;
  start(): void;
  /** Everything has been listed once; before that nothing is sliced. Rejects with the signal's reason. */
  synced(signal: AbortSignal): Promise<void>;
  hasSynced(): boolean;
  /** Why a list or watch failed last, while it has not worked since. */
  trouble(): Error | undefined;
  stop(): Promise<void>;
}

export function createCluster(deps: ClusterDeps): Cluster {
  const watched = createInformers(deps);
  const all = Object.values(watched);
  const { policies, inventory, server, labels, ...parts } = createParts(deps, watched);
  const synced = async (signal: AbortSignal): Promise<void> => {
    await Promise.all([...all.map(({ cache }) => cache.synced(signal)), orAbort(server.looked(), signal)]);
  };
  const stopping = new AbortController();
  return {
    ...parts,
    inventory: () => inventory.current(),
    settings: () => policies.current().slices,
    policyUnread: () => policies.unread(),
    prepare: (namespace) => (policies.current().readsNamespaces ? labels.prepare(namespace) : undefined),
    placements: watched.placements.cache,
    namespaces: watched.namespaces.cache,
    start: () => {
      for (const informer of all) informer.start();
      server.start();
      // Nodes are assessed as soon as they are known, rather than in the first review.
      synced(stopping.signal).then(
        () => inventory.current(),
        () => {},
      );
    },
    synced,
    hasSynced: () => all.every(({ cache }) => cache.hasSynced()),
    trouble: () => all.map((informer) => informer.trouble()).find((trouble) => trouble !== undefined),
    stop: async () => {
      stopping.abort(new Error('the watch of the cluster stops'));
      await Promise.all([...all.map((informer) => informer.stop()), server.stop()]);
      inventory.stop();
      policies.stop();
      labels.stop();
    },
  };
}

function createParts(deps: ClusterDeps, watched: ReturnType<typeof createInformers>) {
  const { client, clock, logger, registry, events } = deps;
  const policies = createPolicyStore({ configMaps: watched.policy.cache, events, logger, registry });
  const inventory = createNodeInventory({
    nodes: watched.nodes.cache,
    placements: watched.placements.cache,
    settings: {
      current: () => policies.current().nodes,
      synced: () => policies.synced(),
      onChange: (listener) => policies.onChange(listener),
    },
    clock,
    logger,
    registry,
  });
  const server = createServerVersion({ client, clock, logger });
  const labels = createNamespaceLabels(client, watched.namespaces.cache);
  const delivery = createDelivery({
    image: deps.vramImage,
    ...(deps.pullPolicy === undefined ? {} : { pullPolicy: deps.pullPolicy }),
    inventory: () => inventory.current(),
    node: (name) => watched.nodes.cache.get(name),
    server: () => server.current(),
    policy: () => policies.current().delivery,
    namespaceLabels: (namespace) => labels.of(namespace),
    logger,
    registry,
  });
  return { policies, inventory, server, labels, delivery, policy: decider(registry, policies, labels) };
}

const UNKNOWN = { rule: '', action: 'unknown' } as const;

function decider(registry: Registry, policies: PolicyStore, labels: NamespaceLabels): Cluster['policy'] {
  const unknown = counter(
    registry,
    'penstock_webhook_policy_namespace_unknown_total',
    'Pods left to no rule because the labels of their namespace could not be read in time',
    [],
    [{}],
  );
  return (pod) => {
    const decision = decide(policies.current(), labels.of(pod.namespace), pod.labels);
    if (decision !== 'unknown') return decision;
    unknown.inc();
    return UNKNOWN;
  };
}

function createInformers(deps: ClusterDeps) {
  return {
    nodes: createInformer<NodeFacts>(deps, { resource: NODES, keep: toNodeFacts }),
    namespaces: createInformer<KubeObject>(deps, { resource: NAMESPACES, keep: namespaceFacts }),
    placements: createInformer<Placement>(deps, { resource: PLACEMENTS }),
    // By name: its account may read this one only.
    policy: createInformer<PolicyConfigMap>(deps, {
      resource: CONFIG_MAPS,
      namespace: deps.namespace,
      fieldSelector: `metadata.name=${OBJECTS.slicingConfigMap}`,
    }),
  };
}
