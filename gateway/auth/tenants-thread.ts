// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { TenantsError, readTenants } from '#base/tenants.ts';
import type { TenantsDocument } from '#base/tenants.ts';

/** Up to here a document is read in place: some milliseconds, less than a thread takes to start. */
const SMALL_CHARS = 16 * 1024;

export type ThreadAnswer =
  | { readonly document: TenantsDocument | undefined }
  | { readonly refused: { readonly field: string; readonly problem: string; readonly fix: string } };

/**
 * `readTenants`, and a large document in a thread of its own: a thousand tenants in YAML take a quarter of a second, in which the gateway
 * would answer nobody.
 * @throws TenantsError
 */
export async function readTenantsAside(text: string): Promise<TenantsDocument | undefined> {
  if (text.length <= SMALL_CHARS) return readTenants(text);
  const worker = new Worker(new URL('./tenants-thread-entry.ts', import.meta.url), {
    workerData: text,
    // It needs nothing of ours, credentials in the environment least of all.
    env: {},
  });
  // Nobody waits for it at the end of the process.
  worker.unref();
  try {
    const [answer] = (await once(worker, 'message')) as [ThreadAnswer];
    if ('document' in answer) return answer.document;
    const { field, problem, fix } = answer.refused;
    throw new TenantsError(field, problem, fix);
  } finally {
    await worker.terminate();
  }
}
