// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import type { Logger } from '#base/logger.ts';
import { watchPath } from '../apps/watch-path.ts';
import { openTenants, parseTenants } from './tenants.ts';
import type { TenantSource } from './tenants.ts';

export interface TenantsFileOptions {
  readonly file: string;
  readonly logger: Logger;
  /** The port is open to more than this machine: a document without keys is refused, as it would let everyone in. */
  readonly requireKeys: boolean;
}

export interface WatchedTenants extends TenantSource {
  close(): void;
}

/**
 * Tenants from a file, read again when it changes; a document that does not fit, or an empty one in place of keys, leaves the last
 * good one in force.
 * @throws Error when the first document is not valid
 */
export function watchTenantsFile({ file, logger, requireKeys }: TenantsFileOptions): WatchedTenants {
  let current = parseSource(read(file), requireKeys);
  const stop = watchPath(file, () => {
    try {
      const document = read(file);
      // An editor empties a file before it writes it. To take all keys away on purpose there is `tenants: []`.
      if (document === null && current.keyCount() > 0) throw new Error('tenants: the file is empty');
      current = parseSource(document, requireKeys);
      logger.info({ file, apiKeys: current.keyCount() }, 'tenants read again');
    } catch (err) {
      logger.error({ file, err }, 'tenants file refused; the last good one stays in force');
    }
  });
  return {
    byApiKey: (key) => current.byApiKey(key),
    anonymous: () => current.anonymous(),
    keyCount: () => current.keyCount(),
    close: stop,
  };
}

/** Null when there is no document in it. */
function read(file: string): unknown {
  return parse(readFileSync(file, 'utf8')) as unknown;
}

function parseSource(document: unknown, requireKeys: boolean): TenantSource {
  const source = document === null ? openTenants() : parseTenants(document);
  if (requireKeys && source.keyCount() === 0) {
    throw new Error('tenants: no API key; without keys the gateway listens on loopback only');
  }
  return source;
}
