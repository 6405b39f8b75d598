// SPDX-License-Identifier: Apache-2.0
import { isStoreError, storeError, unavailable } from '../errors.ts';

/** How S3 says it, by error name or by status where there is no body to name it (HEAD). */
interface S3Failure {
  readonly name: string;
  readonly status: number | undefined;
}

export function failureOf(err: unknown): S3Failure {
  if (!(err instanceof Error)) return { name: '', status: undefined };
  const metadata = '$metadata' in err ? err.$metadata : undefined;
  const status =
    typeof metadata === 'object' && metadata !== null && 'httpStatusCode' in metadata
      ? metadata.httpStatusCode
      : undefined;
  return { name: err.name, status: typeof status === 'number' ? status : undefined };
}

export function isAbsent(err: unknown): boolean {
  const { name, status } = failureOf(err);
  return name === 'NoSuchKey' || name === 'NotFound' || (status === 404 && name !== 'NoSuchBucket');
}

/** `If-None-Match: *` lost: 412, or 409 when another conditional write of the same key was under way. */
export function lostCreate(err: unknown): 'lost' | 'contended' | undefined {
  const { name, status } = failureOf(err);
  if (name === 'PreconditionFailed' || status === 412) return 'lost';
  return name === 'ConditionalRequestConflict' || status === 409 ? 'contended' : undefined;
}

/** An error of the SDK as a StoreError. */
export function mapS3Error(what: string, err: unknown): Error {
  if (isStoreError(err)) return err;
  const { name, status } = failureOf(err);
  if (isAbsent(err)) return storeError('not-found', `${what}: no such object`);
  if (name === 'InvalidRange' || status === 416)
    return storeError('bad-range', `${what}: the range is not in the object`, { field: 'range' });
  if (name === 'NoSuchBucket')
    return storeError('unavailable', `${what}: the bucket does not exist`, { fix: 'create it', cause: err });
  if (status === 401 || status === 403) {
    const fix = 'check accessKeyId, secretAccessKey, region and the rights on the bucket';
    return storeError('unavailable', `${what}: the store refuses our credentials (${name})`, { fix, cause: err });
  }
  return unavailable(what, err);
}
