// SPDX-License-Identifier: Apache-2.0
import type { Placement } from '#crds/placement.gen.ts';
import type { Cache } from '#kube/cache.ts';
import type { KubeClient } from '#kube/client.ts';
import { PLACEMENTS } from '#kube/resource.ts';

/** A review waits for it. */
const DEADLINE_MS = 1_000;

/** Asks the API server itself; what it does not say in time is as the watch had it. */
export function createPlacementLookUp(
  client: Pick<KubeClient, 'list'>,
  cache: Pick<Cache<Placement>, 'get'>,
): (name: string, signal: AbortSignal) => Promise<Placement | undefined> {
  return async (name, signal) => {
    try {
      // A list of one: the account may list placements, and needs no other right. The name is a DNS label by the schema.
      const fieldSelector = `metadata.name=${name}`;
      const { items } = await client.list<Placement>(PLACEMENTS, {
        fieldSelector,
        limit: 1,
        deadlineMs: DEADLINE_MS,
        signal,
      });
      return items[0];
    } catch {
      return cache.get(name);
    }
  };
}
