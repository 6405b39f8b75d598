// SPDX-License-Identifier: Apache-2.0
import type { StoredRequest } from '../stored-request.ts';

/** A request with what the fair order needs of it. */
export interface QueuedRequest extends StoredRequest {
  /** µGPU-seconds that its tenant was charged for the last attempt, corrected when that ended. */
  charged: number;
  /** Part of a GPU, in millionths, that its last lease took. */
  fraction: number;
  /** Number of the sharing period in which it was leased last; 0 = in none. */
  period: number;
  /** When it last went back into the queue. */
  requeuedAt: number;
  /** A redrive made another request the owner of its body object. */
  bodyMoved: boolean;
}

export const UNTRIED = {
  state: 'queued',
  epoch: 0,
  nonce: '',
  unit: '',
  leasedAt: 0,
  failures: 0,
  losses: 0,
  cancelRequested: false,
  deadLetter: false,
  finishedAt: 0,
  serviceMicros: 0,
  charged: 0,
  fraction: 0,
  period: 0,
  requeuedAt: 0,
  bodyMoved: false,
} as const;
