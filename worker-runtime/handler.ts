// SPDX-License-Identifier: Apache-2.0
/**
 * What a TypeScript handler looks like. A module exports
 *
 * ```ts
 * export const batchSize = 8;                       // optional, default 1; spec.worker.batchSize wins
 * export async function load(context) { … }         // optional, once per instance, before the first request
 * export async function predict(batch) { return batch.map(…); }
 * export async function health() { … }              // optional, throws when the instance must not go on
 * ```
 *
 * and runs in a thread of its own, where it may block as long as it likes. What it prints goes to standard error.
 */
import type { Json } from '#base/json.ts';

export interface HandlerContext {
  /** 0 … instances − 1. */
  readonly instance: number;
  readonly unit: string;
  /** namespace.name */
  readonly app: string;
  /** Makes the error that says: this input can never work, do not try it again. The client gets 422 with the message. */
  inputError(message: string): Error;
}

export interface HandlerRequest {
  readonly id: string;
  /** Decoded (never gzip). */
  readonly body: Uint8Array;
  readonly contentType: string;
  /** The body parsed as JSON. @throws an input error when it is none */
  json(): unknown;
  /** The body as UTF-8. */
  text(): string;
  /** Aborts when the client cancels. */
  readonly signal: AbortSignal;
}

/**
 * Bytes (application/octet-stream), a string (text/plain), `{body, contentType}`, any other JSON value (application/json), or an
 * error for this request alone.
 */
export type HandlerResult = Uint8Array | string | TypedResult | Json | Error;

export interface TypedResult {
  readonly body: Uint8Array | string;
  readonly contentType: string;
}

/** A promise in the list is awaited; one that rejects fails its own request only. */
export type HandlerResults = readonly (HandlerResult | Promise<HandlerResult>)[];

/** The module's shape. `predict` answers one result per request, in the same order. */
export interface Handler {
  readonly batchSize?: number;
  load?(context: HandlerContext): Promise<void> | void;
  predict(batch: readonly HandlerRequest[]): Promise<HandlerResults> | HandlerResults;
  health?(): Promise<void> | void;
}

/** Bad input: ends the request at once, whatever its retry budget. Any error with this `name` means the same. */
export class InputError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'InputError';
  }
}
