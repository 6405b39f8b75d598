// SPDX-License-Identifier: Apache-2.0
import type * as S3Sdk from '@aws-sdk/client-s3';
import type { S3StoreOptions } from './options.ts';

/** Connections to S3 of one gateway: enough for every upload in flight, few enough for a small MinIO. */
const MAX_SOCKETS = 128;
const CONNECT_TIMEOUT_MS = 3000;
/** A connection that says nothing for this long is dead; a transfer that moves is never cut. */
const SILENCE_TIMEOUT_MS = 60_000;
/** Tries of one call in all; the SDK backs off between them. */
const MAX_ATTEMPTS = 3;

/** The SDK is loaded when the first S3 store opens: nobody else pays its 20 MB and its start-up time. */
export function loadSdk(): Promise<typeof S3Sdk> {
  return import('@aws-sdk/client-s3');
}

/** A client with pooled keep-alive connections and path-style addresses (a MinIO has no name per bucket). */
export async function createClient(options: S3StoreOptions, endpoint: string): Promise<S3Sdk.S3Client> {
  const { S3Client } = await loadSdk();
  const agent = { keepAlive: true, maxSockets: MAX_SOCKETS };
  return new S3Client({
    endpoint,
    region: options.region,
    credentials: { accessKeyId: options.accessKeyId, secretAccessKey: options.secretAccessKey },
    forcePathStyle: true,
    maxAttempts: MAX_ATTEMPTS,
    // The SDK's default adds a checksum of its own to presigned URLs, which would bind them to one body, and trailers that not
    // every S3 server reads.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      httpAgent: agent,
      httpsAgent: agent,
      connectionTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: SILENCE_TIMEOUT_MS,
    },
  });
}
