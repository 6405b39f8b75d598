// SPDX-License-Identifier: Apache-2.0
import type { HostDied } from './errors.ts';

/** One request as the model sees it: inflated bytes, no token, no tenant. */
export interface WorkItem {
  readonly id: string;
  readonly body: Uint8Array;
  readonly contentType: string;
  /** 1 for the first. A request that was tried before runs alone, so that one that kills its host takes no neighbour along. */
  readonly attempt: number;
  readonly timeoutMs: number;
  readonly traceparent?: string;
  /** Aborts when the client cancelled. */
  readonly signal: AbortSignal;
}

export interface Failure {
  readonly kind: 'handler' | 'input' | 'timeout';
  readonly message: string;
}

export type Outcome =
  | {
      readonly kind: 'succeeded';
      readonly body: Uint8Array;
      readonly contentType: string;
      readonly contentEncoding?: string;
      /** This request's share of the time that the model worked. */
      readonly serviceMicros: number;
    }
  | { readonly kind: 'failed'; readonly failure: Failure }
  /** Not finished through no fault of its own: goes back to the queue, no budget charged. */
  | { readonly kind: 'returned'; readonly reason: string };

export type Report = (item: WorkItem, outcome: Outcome) => void;

/** Runs work in `slots` independent places, up to `batchSize` requests at a time in each. */
export interface Executor {
  readonly slots: number;
  /** Known once started. */
  readonly batchSize: number;
  /** Loads the model. @throws NotReady */
  start(signal: AbortSignal): Promise<void>;
  /** Reports every item exactly once, each as soon as it is known, unless the executor is closed meanwhile. Never rejects. */
  run(slot: number, items: readonly WorkItem[], report: Report): Promise<void>;
  /** Resolves when something of it died; reports of what died with it come first. */
  readonly broken: Promise<HostDied>;
  /** Ends threads and children, whatever they do. Idempotent. */
  close(): Promise<void>;
}
