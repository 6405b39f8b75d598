// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';

export interface S3StoreOptions {
  /** Where gateway and workers reach S3. */
  readonly endpoint: string;
  /** Where clients reach the same S3: host of the URLs that are signed for them. */
  readonly publicEndpoint: string;
  readonly region: string;
  readonly bucket: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Put before every key (`team-a/penstock/`): segments of [A-Za-z0-9._-], ending in a slash. */
  readonly prefix?: string;
  /** Make the bucket when it is not there: for a store of one's own (local overlay, tests). */
  readonly createBucket?: boolean;
  readonly clock: Clock;
}

const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
/** With the longest key of ours still below the 1 024 bytes of S3. */
const PREFIX_MAX = 256;
const PREFIX = /^(?:[A-Za-z0-9_-][A-Za-z0-9._-]*\/)*$/;

/** @throws TypeError naming the option that is wrong */
export function checkS3Options(options: S3StoreOptions): void {
  const { bucket, prefix = '' } = options;
  for (const name of ['endpoint', 'publicEndpoint'] as const) {
    if (!isPlainUrl(options[name]))
      refuse(name, options[name], 'an http or https URL without user, query and fragment');
  }
  if (!BUCKET.test(bucket)) refuse('bucket', bucket, 'the name of a bucket');
  if (!PREFIX.test(prefix) || prefix.length > PREFIX_MAX) {
    refuse('prefix', prefix, `at most ${PREFIX_MAX} characters: segments of [A-Za-z0-9._-], each ending in /`);
  }
  for (const name of ['region', 'accessKeyId', 'secretAccessKey'] as const) {
    if (options[name] === '') refuse(name, '', 'set');
  }
}

function isPlainUrl(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol) && !(url.username || url.search || url.hash);
}

function refuse(name: string, value: string, wanted: string): never {
  throw new TypeError(`${name}: ${JSON.stringify(value)} is not ${wanted}`);
}
