// SPDX-License-Identifier: Apache-2.0
import { appendFileSync } from 'node:fs';
import type { RequestState } from '#gateway/queue/lease-queue.ts';

/** When something was asked, and when its answer came: system-wide monotonic nanoseconds, so that processes can be compared. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** What was really seen of a run, by clients and at the queue's interface of every gateway. A call whose answer was lost leaves no outcome. */
export type Seen = Span &
  (
    | {
        readonly type: 'accepted';
        readonly id: string;
        readonly tenant: string;
        /** The number in its body. */
        readonly n: number;
        readonly key?: string;
      }
    /** A gateway asked the queue to take it; whether it did, the queue knows. */
    | { readonly type: 'offered'; readonly id: string; /** That it is made of. */ readonly letter?: string }
    /** The queue has it; `time`: the queue's, when it said so. */
    | { readonly type: 'taken'; readonly id: string; readonly time: number }
    /** `mark` tells one end from another: time, cause, and the digest of the result. */
    | { readonly type: 'state'; readonly id: string; readonly state: RequestState; readonly mark: string }
    /** A client with a ticket was told that the request is unknown. */
    | { readonly type: 'unknown'; readonly id: string; readonly what: string }
    | {
        readonly type: 'leased';
        readonly id: string;
        readonly epoch: number;
        readonly nonce: string;
        readonly unit: string;
        readonly at: number;
        readonly expiresAt: number;
      }
    | { readonly type: 'extended'; readonly id: string; readonly nonce: string; readonly expiresAt: number }
    /** The call was made: from here on the lease may be over, whether an answer comes or not. */
    | { readonly type: 'ending'; readonly id: string; readonly nonce: string }
    | {
        readonly type: 'settled';
        readonly call: 'complete' | 'fail' | 'release' | 'forged';
        readonly id: string;
        readonly epoch: number;
        readonly nonce: string;
        readonly unit: string;
        readonly outcome: string;
      }
    | { readonly type: 'cancel'; readonly id: string; readonly outcome: string }
    | { readonly type: 'retire'; readonly unit: string; readonly outcome: string }
    | { readonly type: 'redriven'; readonly from: string; readonly id: string; readonly kind: string }
    /** The call was made: from here on the letter may have left the list. */
    | { readonly type: 'discarding'; readonly id: string }
    /** So many of these letters left the list. */
    | { readonly type: 'discarded'; readonly ids: readonly string[]; readonly count: number }
  );

export interface History {
  now(): number;
  add(seen: Seen): void;
  all(): readonly Seen[];
}

export function tick(): number {
  return Number(process.hrtime.bigint());
}

export function createHistory(): History {
  const all: Seen[] = [];
  return { now: tick, add: (seen) => void all.push(seen), all: () => all };
}

/** One line each, written at once: a process that is killed leaves what it saw. */
export function fileHistory(file: string): History {
  return { now: tick, add: (seen) => appendFileSync(file, `${JSON.stringify(seen)}\n`), all: () => [] };
}
