// SPDX-License-Identifier: Apache-2.0
import type { RequestRecord } from './lease-queue.ts';

/** What the queue says of a request to those who wait for it. */
export interface RequestOutcome extends Pick<
  RequestRecord,
  'id' | 'app' | 'state' | 'attempts' | 'finishedAt' | 'result' | 'cause' | 'deadLetter' | 'serviceMicros'
> {
  /** Told once it has ended. */
  readonly retentionMs?: number;
}

/** What a client hears of its request: of the attempts their number. */
export interface ToldOutcome extends Omit<RequestOutcome, 'attempts'> {
  readonly attempts: { readonly length: number };
}
