// SPDX-License-Identifier: Apache-2.0
import type { ObjectMeta } from '#crds/object-meta.ts';

/** Whatever has a name in a Kubernetes API. The rest of an object is raw JSON: times are strings, unknown fields are kept. */
export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObjectMeta;
}

/** Name of one object; `namespace` only for namespaced resources. */
export interface ObjectRef {
  readonly namespace?: string | undefined;
  readonly name: string;
}

/** One page of a list. `continueToken` is absent on the last one. */
export interface Page<T extends KubeObject> {
  readonly items: readonly T[];
  readonly resourceVersion: string;
  readonly continueToken?: string;
}

/** One frame of a watch. A BOOKMARK carries only metadata.resourceVersion; ERROR frames are thrown as KubeError. */
export interface WatchFrame<T extends KubeObject> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: T;
}

/** Standard condition (KEP-1623). */
export interface Condition {
  type: string;
  status: 'True' | 'False' | 'Unknown';
  reason: string;
  message: string;
  lastTransitionTime: string;
  observedGeneration?: number;
}

/** `namespace/name`, or `name` for a cluster-scoped object: the key of caches and work queues. */
export function keyOf(ref: ObjectRef): string {
  return ref.namespace === undefined || ref.namespace === '' ? ref.name : `${ref.namespace}/${ref.name}`;
}

/** The inverse of {@link keyOf}. */
export function refOf(key: string): ObjectRef {
  const slash = key.indexOf('/');
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}
