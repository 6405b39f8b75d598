// SPDX-License-Identifier: Apache-2.0
import type { Cache } from '#kube/cache.ts';
import type { KubeClient } from '#kube/client.ts';
import { NAMESPACES } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import type { Labels } from '../policy/label-selector.ts';

/** A review waits for it; the pod's namespace exists, so this is one small read. */
const READ_DEADLINE_MS = 300;
/** Namespaces that were read before the watch told of them; it does so within moments. */
const MAX_AHEAD = 256;

/** What a namespace can be called; anything else would say more than a name in a field selector. */
const NAME = /^[a-z0-9][-a-z0-9]{0,62}$/;

const NO_LABELS: Labels = Object.freeze({});

/** An informer's `keep`: labels are all that is asked for. */
export function namespaceFacts({ metadata: { name, uid, resourceVersion, labels } }: KubeObject): KubeObject {
  return {
    metadata: {
      name,
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
      ...(labels === undefined ? {} : { labels }),
    },
  };
}

export interface NamespaceLabels {
  /** Undefined: not known. */
  of(namespace: string): Labels | undefined;
  /**
   * Reads a namespace of which the watch has not told yet: its first pod may come in the same second. Undefined when nothing is
   * to be waited for. Never rejects: what cannot be read stays unknown.
   */
  prepare(namespace: string): Promise<void> | undefined;
  stop(): void;
}

export function createNamespaceLabels(client: Pick<KubeClient, 'list'>, cache: Cache<KubeObject>): NamespaceLabels {
  /** Oldest first. */
  const ahead = new Map<string, Labels>();
  const reading = new Map<string, Promise<void>>();
  const stop = cache.onChange((event) => void ahead.delete(event.key));
  const of = (namespace: string): Labels | undefined => {
    const known = cache.get(namespace);
    return known ? (known.metadata.labels ?? NO_LABELS) : ahead.get(namespace);
  };
  const read = async (namespace: string): Promise<void> => {
    try {
      // A list of one: the account may list namespaces, and needs no other right.
      const fieldSelector = `metadata.name=${namespace}`;
      const { items } = await client.list(NAMESPACES, { fieldSelector, limit: 1, deadlineMs: READ_DEADLINE_MS });
      const [found] = items;
      if (found === undefined || cache.get(namespace) !== undefined) return;
      ahead.set(namespace, found.metadata.labels ?? NO_LABELS);
      const [oldest] = ahead.keys();
      if (ahead.size > MAX_AHEAD && oldest !== undefined) ahead.delete(oldest);
    } catch {
      // Unknown it stays, which is counted where it matters.
    } finally {
      reading.delete(namespace);
    }
  };
  return {
    of,
    prepare: (namespace) => {
      if (!cache.hasSynced() || of(namespace) !== undefined || !NAME.test(namespace)) return undefined;
      const going = reading.get(namespace) ?? read(namespace);
      if (!reading.has(namespace)) reading.set(namespace, going);
      return going;
    },
    stop,
  };
}
