// SPDX-License-Identifier: Apache-2.0
import type { RequestRecord } from './lease-queue.ts';

/** What a client hears of its request. */
export interface RequestOutcome extends Pick<
  RequestRecord,
  'id' | 'app' | 'state' | 'attempts' | 'finishedAt' | 'result' | 'cause' | 'deadLetter' | 'serviceMicros'
> {
  /** Told once it has ended. */
  readonly retentionMs?: number;
}
