// SPDX-License-Identifier: Apache-2.0
import { Readable } from 'node:stream';
import type { PutObjectCommandInput, S3Client } from '@aws-sdk/client-s3';
import type { MeteredBody } from '../body.ts';
import { loadSdk } from './client.ts';

/** Memory of one streamed put = PARTS_AT_ONCE × PART_BYTES (+ one being filled); S3's smallest part, whose 10 000 bound an object at 48 GiB. */
const PART_BYTES = 5 * 1024 * 1024;
const PARTS_AT_ONCE = 2;

export type PutParams = Omit<PutObjectCommandInput, 'Body'> & { readonly Bucket: string; readonly Key: string };

/** In one request: for bytes that are in memory anyway. */
export async function putBytes(client: S3Client, params: PutParams, body: Uint8Array): Promise<void> {
  const { PutObjectCommand } = await loadSdk();
  await client.send(new PutObjectCommand({ ...params, Body: body, ContentLength: body.length }));
}

/** In parts, which show as one object when the last one is in; after an error Upload has aborted them, and none stays. */
export async function putStream(client: S3Client, params: PutParams, body: MeteredBody): Promise<void> {
  const { Upload } = await import('@aws-sdk/lib-storage');
  const source = Readable.from(body.chunks, { objectMode: false });
  const upload = new Upload({
    client,
    params: { ...params, Body: source },
    partSize: PART_BYTES,
    queueSize: PARTS_AT_ONCE,
  });
  try {
    await upload.done();
  } finally {
    source.destroy();
  }
}
