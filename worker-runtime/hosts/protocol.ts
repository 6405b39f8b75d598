// SPDX-License-Identifier: Apache-2.0
/**
 * What a unit's main thread and a handler host (thread or child process) say to each other: a JSON head and binary parts. Every ask
 * carries `id` and gets one answer with the same `re`. `python/penstock_worker.py` speaks the same.
 */
export interface Message {
  readonly head: Ask | Answer;
  /** Bodies in the order of `items`; results in the order of `answers` (empty for errors). */
  readonly parts: readonly Uint8Array[];
}

export type Ask =
  | {
      readonly op: 'load';
      readonly id: number;
      readonly handler: string;
      readonly instance: number;
      readonly unit: string;
      readonly app: string;
    }
  | {
      readonly op: 'predict';
      readonly id: number;
      readonly items: readonly { readonly id: string; readonly contentType: string }[];
    }
  | { readonly op: 'health'; readonly id: number }
  /** The client cancelled; no answer. */
  | { readonly op: 'abort'; readonly item: string };

export type Answer =
  | { readonly re: number; readonly ok: false; readonly error: WireError }
  | {
      readonly re: number;
      readonly ok: true;
      /** After load: what the handler declares. */
      readonly batchSize?: number;
      /** After predict. */
      readonly answers?: readonly ItemAnswer[];
    };

export interface WireError {
  readonly kind: 'handler' | 'input';
  readonly message: string;
}

export type ItemAnswer = { readonly contentType: string } | { readonly error: WireError };

/** A way to a host. */
export interface Channel {
  send(message: Message): void;
  onMessage(listener: (message: Message) => void): void;
  /** The host is gone, for the reason given. Called once. */
  onClose(listener: (reason: string) => void): void;
  /** Ends the host, whatever it is doing; resolves when nothing of it is left. @throws when it can't be ended */
  kill(): Promise<void>;
}
