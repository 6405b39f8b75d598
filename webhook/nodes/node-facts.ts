// SPDX-License-Identifier: Apache-2.0
// What is kept of a node: some 2 KB of the 10 to 30 that a node has, and of a node without devices hardly more than its name.
import { isDeepStrictEqual } from 'node:util';
import { isObject } from '#base/json.ts';
import type { KubeObject } from '#kube/types.ts';

interface NodeTaint {
  readonly key: string;
  readonly value?: string;
  readonly effect: string;
}

export interface NodeFacts extends KubeObject {
  readonly taints: readonly NodeTaint[];
  readonly unschedulable: boolean;
  /** Extended resources only, as the API server writes quantities. */
  readonly capacity: Readonly<Record<string, unknown>>;
  /** Of every resource. */
  readonly allocatable: Readonly<Record<string, unknown>>;
  /** `containerd://2.1.4`; '' where nothing is said. */
  readonly runtime: string;
  readonly kubeletVersion: string;
}

/** An informer's `keep`. Labels stay as they are: pods select by any of them. */
export function toNodeFacts(node: KubeObject): NodeFacts {
  const { name, uid, resourceVersion, labels = {} } = node.metadata;
  const spec = part(node, 'spec');
  const status = part(node, 'status');
  const capacity = extended(part(status, 'capacity'));
  const info = part(status, 'nodeInfo');
  const ofInterest = Object.keys(capacity).length > 0 || Object.keys(labels).some(isGpuLabel);
  const kept = {
    name,
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
  return {
    metadata: ofInterest ? { ...kept, labels } : kept,
    taints: ofInterest ? readTaints(spec['taints']) : [],
    unschedulable: ofInterest && spec['unschedulable'] === true,
    capacity,
    allocatable: ofInterest ? part(status, 'allocatable') : {},
    runtime: ofInterest ? text(info['containerRuntimeVersion']) : '',
    kubeletVersion: ofInterest ? text(info['kubeletVersion']) : '',
  };
}

/** Whether nothing changed that anybody here looks at. A heartbeat changes resourceVersion and conditions only. */
export function sameFacts(a: NodeFacts, b: NodeFacts): boolean {
  return (
    a.unschedulable === b.unschedulable &&
    a.runtime === b.runtime &&
    a.kubeletVersion === b.kubeletVersion &&
    isDeepStrictEqual(a.metadata.labels, b.metadata.labels) &&
    isDeepStrictEqual(a.taints, b.taints) &&
    isDeepStrictEqual(a.capacity, b.capacity) &&
    isDeepStrictEqual(a.allocatable, b.allocatable)
  );
}

function isGpuLabel(key: string): boolean {
  return key.startsWith('nvidia.com/');
}

/** Names with a domain that is not Kubernetes' own: what device plugins advertise. */
export function isExtended(resource: string): boolean {
  const [domain = '', rest] = resource.split('/');
  return rest !== undefined && domain !== 'kubernetes.io' && !domain.endsWith('.kubernetes.io');
}

function extended(resources: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(resources).filter(([name]) => isExtended(name)));
}

function readTaints(value: unknown): readonly NodeTaint[] {
  if (!Array.isArray(value)) return [];
  return value.filter(isObject).map((taint) => ({
    key: text(taint['key']),
    ...(typeof taint['value'] === 'string' ? { value: taint['value'] } : {}),
    effect: text(taint['effect']),
  }));
}

function part(object: object, key: string): Record<string, unknown> {
  const value = (object as Record<string, unknown>)[key];
  return isObject(value) ? value : {};
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
