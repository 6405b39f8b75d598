// SPDX-License-Identifier: Apache-2.0
import type { LocalStore, LocalStoreOptions } from './local/store.ts';
import type { ObjectStore } from './object-store.ts';
import type { S3StoreOptions } from './s3/options.ts';

/** Opens the store of the gateway in a cluster. The driver is loaded here, so that standalone never loads the SDK. */
export async function openS3Store(options: S3StoreOptions): Promise<ObjectStore> {
  const driver = await import('./s3/store.ts');
  return driver.openS3Store(options);
}

/** Opens the store of standalone; serve its URLs with `createLocalStoreHandler`. */
export async function openLocalStore(options: LocalStoreOptions): Promise<LocalStore> {
  const driver = await import('./local/store.ts');
  return driver.openLocalStore(options);
}

export { createLocalStoreHandler } from './local/handler.ts';
export type { LocalStoreHandler } from './local/handler.ts';
export type { LocalStore, LocalStoreOptions } from './local/store.ts';
export type { S3StoreOptions } from './s3/options.ts';
