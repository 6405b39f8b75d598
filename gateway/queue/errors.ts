// SPDX-License-Identifier: Apache-2.0
/** What a lease queue throws beside outcomes. */
export type QueueErrorCode =
  /** The caller broke the contract: a field out of its bounds. Nothing was changed. */
  | 'invalid'
  /** The store was written by a layout that this build does not know. */
  | 'layout'
  /** Another process holds the embedded queue's file. */
  | 'locked'
  /** The queue was closed. */
  | 'closed'
  /** The store failed or can't be reached; the call may be repeated. */
  | 'unavailable';

export class QueueError extends Error {
  readonly code: QueueErrorCode;

  constructor(code: QueueErrorCode, message: string, options: { readonly cause?: unknown } = {}) {
    super(message, options);
    this.name = 'QueueError';
    this.code = code;
  }
}
