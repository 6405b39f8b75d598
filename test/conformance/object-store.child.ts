// SPDX-License-Identifier: Apache-2.0
// A process that streams an object in and out of a store and tells its own peak memory: object-store.child.ts STORE BYTES
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { systemClock } from '#base/clock.ts';
import { seededRandom, systemRandom } from '#base/random.ts';
import { openLocalStore, openS3Store } from '#gateway/store/open.ts';
import type { LocalStoreOptions, S3StoreOptions } from '#gateway/store/open.ts';
import type { ObjectStore } from '#gateway/store/object-store.ts';

/** How to open the store, as JSON. */
export type ChildStore =
  | { readonly driver: 's3'; readonly options: Omit<S3StoreOptions, 'clock'> }
  | { readonly driver: 'local'; readonly options: Pick<LocalStoreOptions, 'root' | 'clientUrl' | 'workerUrl'> };

const CHUNK_BYTES = 64 * 1024;

function open(store: ChildStore): Promise<ObjectStore> {
  if (store.driver === 's3') return openS3Store({ ...store.options, clock: systemClock });
  const signingKey = new Uint8Array(32);
  return openLocalStore({ ...store.options, signingKey, clock: systemClock, random: systemRandom });
}

async function main(): Promise<void> {
  const store = await open(JSON.parse(process.argv[2] ?? '') as ChildStore);
  const bytes = Number(process.argv[3]);
  const put = createHash('sha256');
  const block = Buffer.from(seededRandom(7).bytes(CHUNK_BYTES));
  const source = function* (): Generator<Buffer> {
    for (let left = bytes, i = 0; left > 0; left -= CHUNK_BYTES, i++) {
      // A fresh buffer that differs from block to block: a part in the wrong place would show.
      const chunk = Buffer.from(block.subarray(0, Math.min(left, CHUNK_BYTES)));
      chunk.writeUInt32BE(i, 0);
      put.update(chunk);
      yield chunk;
    }
  };
  const key = 'v1/child/stream';
  await store.put(key, Readable.from(source(), { objectMode: false }), { contentType: 'application/x-stream' });
  const got = createHash('sha256');
  const { info, body } = await store.get(key);
  for await (const chunk of body as AsyncIterable<Buffer>) got.update(chunk);
  await store.delete([key]);
  await store.close();
  const rssMiB = process.resourceUsage().maxRSS / 1024;
  process.stdout.write(JSON.stringify({ put: put.digest('hex'), got: got.digest('hex'), bytes: info.bytes, rssMiB }));
}

await main();
