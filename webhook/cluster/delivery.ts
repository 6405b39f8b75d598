// SPDX-License-Identifier: Apache-2.0
import type { Logger } from '#base/logger.ts';
import { gauge } from '#base/metrics.ts';
import type { Registry } from '#base/metrics.ts';
import type { DeliveryPolicy } from '../policy/policy.ts';
import type { Labels } from '../policy/label-selector.ts';
import type { Delivery } from '../slice/context.ts';
import type { Inventory } from '../slice/inventory.ts';
import { judgeImageVolumes } from './image-volumes.ts';
import type { RuntimeNode } from './image-volumes.ts';
import type { Version } from './versions.ts';

const KINDS = ['image', 'init'] as const;
type Kind = (typeof KINDS)[number];

export interface DeliveryDeps {
  /** Of penstock-vram. */
  readonly image: string;
  readonly pullPolicy?: 'Always' | 'IfNotPresent' | 'Never';
  readonly inventory: () => Inventory;
  readonly node: (name: string) => RuntimeNode | undefined;
  readonly server: () => Version | undefined;
  readonly policy: () => DeliveryPolicy;
  readonly namespaceLabels: (namespace: string) => Labels | undefined;
  readonly logger: Logger;
  readonly registry: Registry;
}

/** How the library reaches pods of a namespace; undefined while the nodes are not known. */
export type ChooseDelivery = (namespace: string) => Delivery | undefined;

/** Judged anew only when nodes, server or settings are others than at the last time. */
export function createDelivery(deps: DeliveryDeps): ChooseDelivery {
  const { image, pullPolicy, inventory, server, policy, logger } = deps;
  const delivery = (kind: Kind): Delivery => ({ kind, image, ...(pullPolicy === undefined ? {} : { pullPolicy }) });
  const byKind: Readonly<Record<Kind, Delivery>> = { image: delivery('image'), init: delivery('init') };
  let judged: { nodes: Inventory; version: Version | undefined; beta: boolean; kind: Kind } | undefined;
  let told = '';

  const judge = (): Kind => {
    const nodes = inventory();
    const version = server();
    const beta = policy().betaImageVolumes;
    if (judged?.nodes === nodes && judged.version === version && judged.beta === beta) return judged.kind;
    const runtimes = nodes.nodes.flatMap(({ name }) => deps.node(name) ?? []);
    const { supported, why } = judgeImageVolumes(version, runtimes, beta);
    const kind = supported ? 'image' : 'init';
    judged = { nodes, version, beta, kind };
    if (told !== why)
      logger.info({ delivery: kind, why }, 'how the library reaches sliced pods where the policy leaves it open');
    told = why;
    return kind;
  };
  gauge(
    deps.registry,
    'penstock_webhook_delivery',
    '1 for the way by which the library reaches sliced pods where no namespace is an exception',
    ['kind'],
    (made) => {
      const { strategy } = policy();
      const judgeable = strategy !== 'auto' || inventory().synced;
      const kind = !judgeable ? undefined : strategy === 'auto' ? judge() : strategy;
      for (const each of KINDS) made.set({ kind: each }, each === kind ? 1 : 0);
    },
  );
  return (namespace) => {
    if (!inventory().synced) return undefined;
    const { strategy, namespaces } = policy();
    const labels = namespaces.length === 0 ? undefined : deps.namespaceLabels(namespace);
    const exception = namespaces.find(
      ({ matches }) => matches === undefined || (labels !== undefined && matches(labels)),
    );
    const chosen = exception?.strategy ?? strategy;
    return byKind[chosen === 'auto' ? judge() : chosen];
  };
}
