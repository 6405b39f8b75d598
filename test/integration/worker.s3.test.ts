// SPDX-License-Identifier: Apache-2.0
// Units that never see a bucket's credentials: large bodies and results by presigned URLs of a real S3 server.
import { gzipSync } from 'node:zlib';
import { expect, inject, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { openS3Store } from '#gateway/store/open.ts';
import { HOST_KINDS } from '#worker/testing/host-suite.ts';
import { startWorkerStack } from './worker.harness.ts';

const MIB = 1024 * 1024;

it.each(HOST_KINDS)('carries many MiB both ways, unchanged: $name', async (kind) => {
  const { s3 } = inject('servers');
  const prefix = `worker-${process.pid}/`;
  const store = await openS3Store({ ...s3, publicEndpoint: s3.endpoint, prefix, clock: systemClock });
  const stack = await startWorkerStack({}, { store });
  await stack.worker({ handler: kind.install(stack.handlers), concurrency: 3 });
  // Noise, so that gzip leaves it as large as it is.
  const pad = Buffer.from(crypto.getRandomValues(new Uint8Array(60_000)))
    .toString('base64')
    .repeat(40);
  const body = Buffer.from(JSON.stringify({ do: 'size', pad }));
  const plain = await stack.post(body);
  const zipped = await stack.post(gzipSync(body), { 'content-encoding': 'gzip' });
  const out = await stack.post({ do: 'bytes', size: 3 * MIB });
  for (const ticket of [plain, zipped]) {
    const ended = await stack.ended(ticket);
    expect([ended.status, JSON.parse(ended.bytes.toString())]).toEqual([
      200,
      { size: body.length, type: 'application/json' },
    ]);
  }
  const result = await stack.ended(out);
  expect([result.status, result.type]).toEqual([200, 'application/octet-stream']);
  expect(result.bytes.equals(Buffer.alloc(3 * MIB, 7))).toBe(true);
  await store.close();
});
