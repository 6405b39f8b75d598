// SPDX-License-Identifier: Apache-2.0
/** Narrowing of what a script answered: strings come as buffers, numbers as numbers. */
export function listOf(reply: unknown): readonly unknown[] {
  if (!Array.isArray(reply)) throw new Error('Redis answered something that is no list');
  return reply;
}

export function bufferOf(value: unknown): Buffer | undefined {
  return Buffer.isBuffer(value) ? value : undefined;
}

export function textOf(value: unknown): string {
  return Buffer.isBuffer(value) ? value.toString() : String(value);
}

/** Undefined for the empty string, which scripts answer where there is no number. */
export function numberOf(value: unknown): number | undefined {
  const text = textOf(value);
  return text === '' ? undefined : Number(text);
}

export function chunked<T>(items: readonly T[], size: number): T[][] {
  const chunks: T[][] = [];
  for (let at = 0; at < items.length; at += size) chunks.push(items.slice(at, at + size));
  return chunks;
}
