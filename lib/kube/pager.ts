// SPDX-License-Identifier: Apache-2.0
import type { KubeClient, ListOptions } from './client.ts';
import { isExpired } from './errors.ts';
import type { Resource } from './resource.ts';
import type { KubeObject } from './types.ts';

/** client-go's page size: keeps one answer small for the server and for our heap. */
export const PAGE_LIMIT = 500;

export interface Listing<T extends KubeObject> {
  readonly items: readonly T[];
  /** Where a watch continues from. */
  readonly resourceVersion: string;
}

/**
 * All objects, page by page, as of one resourceVersion. A continue token that expires on the way (compaction between two pages)
 * starts over without pages, as client-go does: a second paged attempt could expire just the same.
 * @param keep what is kept of each object, done page by page: a cluster's nodes in full would be many times what is needed of them
 */
export async function listAll<T extends KubeObject>(
  client: KubeClient,
  resource: Resource,
  options: Omit<ListOptions, 'continueToken'> = {},
  keep: (object: T) => T = (object) => object,
): Promise<Listing<T>> {
  try {
    return await listPages<T>(client, resource, { ...options, limit: options.limit ?? PAGE_LIMIT }, keep);
  } catch (err) {
    if (!isExpired(err)) throw err;
    return listPages<T>(client, resource, { ...options, limit: undefined }, keep);
  }
}

async function listPages<T extends KubeObject>(
  client: KubeClient,
  resource: Resource,
  options: ListOptions,
  keep: (object: T) => T,
): Promise<Listing<T>> {
  const items: T[] = [];
  let continueToken: string | undefined;
  for (;;) {
    const page = await client.list<T>(resource, { ...options, continueToken });
    for (const item of page.items) items.push(keep(item));
    if (page.continueToken === undefined) return { items, resourceVersion: page.resourceVersion };
    continueToken = page.continueToken;
  }
}
