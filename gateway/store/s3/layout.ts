// SPDX-License-Identifier: Apache-2.0
import type { S3Client } from '@aws-sdk/client-s3';
import { LAYOUT_KEY } from '../keys.ts';
import { LAYOUT_MARKER, LAYOUT_MARKER_MAX_BYTES, checkLayout } from '../layout.ts';
import { loadSdk } from './client.ts';
import { failureOf, isAbsent, lostCreate } from './errors.ts';

/** Reads the store's marker, or leaves one in a fresh place. @throws StoreError `layout`, or the SDK's own error */
export async function openLayout(client: S3Client, bucket: string, prefix: string): Promise<void> {
  const { PutObjectCommand } = await loadSdk();
  const key = `${prefix}${LAYOUT_KEY}`;
  const where = `s3://${bucket}/${prefix}`;
  const marker = await readMarker(client, bucket, key);
  if (marker !== undefined) return checkLayout(marker, where);
  try {
    const fresh = { Body: LAYOUT_MARKER, ContentType: 'application/json', IfNoneMatch: '*' };
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: key, ...fresh }));
  } catch (err) {
    // Another gateway starts at the same moment; what it wrote decides.
    if (lostCreate(err) === undefined) throw err;
    checkLayout((await readMarker(client, bucket, key)) ?? '', where);
  }
}

async function readMarker(client: S3Client, bucket: string, key: string): Promise<string | undefined> {
  const { GetObjectCommand } = await loadSdk();
  try {
    const answer = await client.send(
      new GetObjectCommand({ Bucket: bucket, Key: key, Range: `bytes=0-${LAYOUT_MARKER_MAX_BYTES - 1}` }),
    );
    return (await answer.Body?.transformToString()) ?? '';
  } catch (err) {
    if (isAbsent(err)) return undefined;
    throw err;
  }
}

/** @throws the SDK's error unless the bucket is there afterwards */
export async function ensureBucket(client: S3Client, bucket: string): Promise<void> {
  const { CreateBucketCommand, HeadBucketCommand } = await loadSdk();
  try {
    await client.send(new HeadBucketCommand({ Bucket: bucket }));
  } catch (err) {
    if (failureOf(err).status !== 404) throw err;
    await client.send(new CreateBucketCommand({ Bucket: bucket })).catch((raced: unknown) => {
      if (failureOf(raced).name !== 'BucketAlreadyOwnedByYou') throw raced;
    });
  }
}
