// SPDX-License-Identifier: Apache-2.0
import type { KubeClient } from '#kube/client.ts';
import { PODS } from '#kube/resource.ts';
import type { KubeObject } from '#kube/types.ts';
import type { LivePod } from './missed-slice.ts';

/** Pods in memory at a time: some 10 KB each. */
const PAGE = 250;
/** A million pods; more pages than that are a server that never ends. */
const MAX_PAGES = 4_000;
const DEADLINE_MS = 60_000;

/** All pods of the cluster that have not ended, a page at a time. @throws KubeError; 410 when the list took too long */
export async function* podPages(
  client: Pick<KubeClient, 'list'>,
  signal: AbortSignal,
): AsyncGenerator<readonly LivePod[]> {
  const fieldSelector = 'status.phase!=Succeeded,status.phase!=Failed';
  let continueToken: string | undefined;
  for (let pages = 0; pages < MAX_PAGES; pages += 1) {
    const scope = { fieldSelector, limit: PAGE, continueToken, signal, deadlineMs: DEADLINE_MS };
    const page = await client.list<KubeObject & LivePod>(PODS, scope);
    yield page.items;
    continueToken = page.continueToken;
    if (continueToken === undefined) return;
  }
}
