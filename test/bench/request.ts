// SPDX-License-Identifier: Apache-2.0
import type { NewRequest } from '#gateway/queue/lease-queue.ts';

/** A request as the gateway would make it of a small JSON body, each its own. */
export function newRequest(app: string, id: string, inline: Buffer): NewRequest {
  return {
    id,
    app,
    tenant: 'bench',
    lane: 'online',
    revision: 'rev1',
    priority: 0,
    cost: 1_000_000,
    body: { contentType: 'application/json', bytes: inline.length, inline },
    dedupeKey: id,
    retry: { maxAttempts: 3, maxLosses: 5 },
    retentionMs: 86_400_000,
  };
}
