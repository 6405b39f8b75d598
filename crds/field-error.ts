// SPDX-License-Identifier: Apache-2.0

/** One problem of a document: where, what must be true there, and how to mend it. */
export interface FieldError {
  /** Path as Kubernetes writes it: `spec.worker.env[0].name`; empty for the document itself. */
  path: string;
  /** Follows the path in a sentence: `must be at most maxUnits`. */
  message: string;
  /** A likely fix. */
  hint?: string;
}

/** `spec.scaling.minUnits: minUnits must be at most maxUnits (hint)`, one line for people. */
export function formatFieldError({ path, message, hint }: FieldError): string {
  return `${path || 'document'}: ${message}${hint ? ` (${hint})` : ''}`;
}

export function member(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}

export function element(path: string, index: number): string {
  return `${path}[${index}]`;
}

/** A plain JSON object: neither null nor a list. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Longest piece of a user's value that a message repeats. */
const MAX_ECHO = 80;

/** The value as JSON, cut to a readable length. */
export function echo(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > MAX_ECHO ? `${text.slice(0, MAX_ECHO)}…` : text;
}
