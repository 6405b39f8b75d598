// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { ProblemError } from '#base/problem.ts';
import { isStoreError } from '#gateway/store/errors.ts';
import type { ObjectStore } from '#gateway/store/object-store.ts';
import type { ChildStore } from './object-store.child.ts';

/** One driver under test, and a way around it to see what it really stored. */
export interface StoreHarness {
  readonly store: ObjectStore;
  readonly clientOrigin: string;
  readonly workerOrigin: string;
  /** Reads an object without the driver. */
  readonly raw: (key: string) => Promise<{ readonly bytes: Buffer; readonly contentType: string }>;
  /** What unfinished puts of a key have left. */
  readonly leftovers: (key: string) => Promise<readonly string[]>;
  /** A store of the same driver for a process of its own. */
  readonly child: ChildStore;
  /** A refused URL's answer: 403 with problem+json is ours; S3's is XML, and 400 where a parameter or signed header is missing. */
  readonly refusal: { readonly statuses: readonly number[]; readonly type: RegExp };
  readonly close: () => Promise<void>;
}

export const MIB = 1024 * 1024;
/** uid of the app all objects of the suites belong to. */
export const APP = '0b0e9bd5-6d0a-4f8c-9a3e-0f6f1c2d3e4f';

/** The code of the StoreError a call fails with; undefined when it does not fail. Any other error goes through. */
export async function failure(call: Promise<unknown>): Promise<string | undefined> {
  try {
    await call;
    return undefined;
  } catch (err) {
    if (isStoreError(err) && err instanceof ProblemError) return err.code;
    throw err;
  }
}

export function sha(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** `bytes` in pieces of `size`. */
export function* cut(bytes: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
