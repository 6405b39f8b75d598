// SPDX-License-Identifier: Apache-2.0
import { ProblemError, problemTable } from '#base/problem.ts';

/** Every error of the object store, with the answer it becomes where it reaches HTTP. */
const STORE_ERRORS = {
  'not-found': { status: 404, title: 'No such object' },
  exists: { status: 412, title: 'Object exists' },
  'bad-key': { status: 400, title: 'Bad object key' },
  'bad-type': { status: 400, title: 'Bad content type' },
  'bad-range': { status: 416, title: 'Range not satisfiable' },
  'bad-expiry': { status: 400, title: 'Bad lifetime of a signed URL' },
  'bad-size': { status: 400, title: 'Bad size of a signed upload' },
  'bad-limit': { status: 400, title: 'Bad page size' },
  'too-large': { status: 413, title: 'Object too large' },
  forbidden: { status: 403, title: 'Signed URL refused' },
  'wrong-method': { status: 405, title: 'Method not allowed' },
  'upload-interrupted': { status: 400, title: 'Upload interrupted' },
  layout: { status: 500, title: 'Unknown layout of the object store' },
  unavailable: { status: 503, title: 'Object store unavailable' },
} as const;

export type StoreErrorCode = keyof typeof STORE_ERRORS;

export const storeError = problemTable<StoreErrorCode>(STORE_ERRORS);

/** Whether `err` is a StoreError, of the given code when there is one. */
export function isStoreError(err: unknown, code?: StoreErrorCode): err is ProblemError {
  return err instanceof ProblemError && err.code in STORE_ERRORS && (code === undefined || err.code === code);
}

/** An error of the disk or the network as `unavailable`; one that is a StoreError already stays itself. */
export function unavailable(what: string, err: unknown): ProblemError {
  if (isStoreError(err)) return err;
  const why = err instanceof Error ? err.message : String(err);
  return storeError('unavailable', `${what}: ${why}`, { cause: err });
}
