// SPDX-License-Identifier: Apache-2.0
import { isObject } from '#base/json.ts';

/** What a body asks of the handler. */
export const DEEDS = ['echo', 'large', 'slow', 'throw', 'flaky', 'input', 'poison', 'hang'] as const;
export type Deed = (typeof DEEDS)[number];

/** Orders of this priority are batch work. */
export const BATCH_PRIORITY = -5;

/** A body of a schedule: what to do, and a number that makes it unlike any other. */
export interface Task {
  readonly n: number;
  readonly deed: Deed;
}

/** What the handler answers: enough to tell whose result it is. */
export interface Answer {
  readonly n: number;
  readonly id: string;
  readonly unit: string;
  readonly attempt: number;
}

/** Above the limit of inline bodies: such a one goes through the object store, there and back. */
const LARGE_BYTES = 20 * 1024;

export function bodyOf({ n, deed }: Task): string {
  const head = JSON.stringify({ n, deed });
  return deed === 'large' ? head.replace(/}$/, `,"pad":"${'x'.repeat(LARGE_BYTES)}"}`) : head;
}

export function taskOf(body: Uint8Array): Task {
  const { n, deed } = JSON.parse(Buffer.from(body).toString()) as Task;
  return { n, deed };
}

export function resultOf(answer: Answer, deed: Deed): Uint8Array {
  const pad = deed === 'large' ? { pad: 'y'.repeat(LARGE_BYTES) } : {};
  return Buffer.from(JSON.stringify({ ...answer, ...pad }));
}

export function answerOf(bytes: Uint8Array): Answer | undefined {
  try {
    const found: unknown = JSON.parse(Buffer.from(bytes).toString());
    return isObject(found) ? (found as unknown as Answer) : undefined;
  } catch {
    return undefined;
  }
}
