// SPDX-License-Identifier: Apache-2.0
import { Redis } from 'ioredis';
import type { Logger } from '#base/logger.ts';
import { QueueError } from '../errors.ts';
import type { Durability } from '../lease-queue.ts';
import { isAway, unavailable } from './runner.ts';

/** Raised with every change of the keys or of what is in them; another layout is refused, never guessed at. */
export const REDIS_LAYOUT = 'penstock-queue/3';

/** A call waits through a restart of Redis of a few seconds, then fails, so that its caller can answer 503. */
const RETRIES_PER_CALL = 8;
/** A server that is silent for so long with calls waiting is taken for dead: the connection is made anew and the calls are sent again. */
const SILENT_MS = 5_000;
const FIRST_RETRY_MS = 25;
const LAST_RETRY_MS = 1_000;

/** @param retries how often a call survives a lost connection; null = for ever */
export function connect(url: string, name: string, logger: Logger, retries: number | null = RETRIES_PER_CALL): Redis {
  // All calls under way hear the same; the first of them is enough.
  let leaving = false;
  const redis = new Redis(url, {
    connectionName: name,
    lazyConnect: true,
    maxRetriesPerRequest: retries,
    socketTimeout: SILENT_MS,
    retryStrategy: (times) => Math.min(FIRST_RETRY_MS * 2 ** times, LAST_RETRY_MS),
    // After a failover the old primary answers so: reconnect, which finds the new one. The call is sent again by `patiently`, which ends.
    reconnectOnError: (error) => isAway(error) && !leaving && (leaving = true),
    enableAutoPipelining: true,
  });
  redis.on('ready', () => (leaving = false));
  redis.on('error', (error: Error) => logger.warn({ err: error }, 'the connection to Redis failed'));
  return redis;
}

/** @throws QueueError `unavailable`, or `layout` when another version wrote these keys */
export async function checkLayout(redis: Redis, prefix: string): Promise<void> {
  const key = `${prefix}:layout`;
  let found: string | null;
  try {
    await redis.connect();
    await redis.set(key, REDIS_LAYOUT, 'NX');
    found = await redis.get(key);
  } catch (error) {
    throw unavailable(error);
  }
  if (found === REDIS_LAYOUT) return;
  throw new QueueError(
    'layout',
    `Redis key ${key} says layout ${found}, this build knows ${REDIS_LAYOUT} only; use that build or another prefix`,
  );
}

/** Identity of the server's process. @throws QueueError `unavailable` */
export async function readRun(redis: Redis): Promise<string> {
  try {
    const info = await redis.info('server');
    return /^run_id:(\w+)/m.exec(info)?.[1] ?? '';
  } catch (error) {
    throw unavailable(error);
  }
}

/** What a write that was answered survives, as the server is configured now. A server that hides its settings promises nothing. */
export async function readDurability(redis: Redis, logger: Logger): Promise<Durability> {
  let settings: Record<string, string>;
  try {
    settings = {
      ...(await setting(redis, 'appendonly')),
      ...(await setting(redis, 'appendfsync')),
      ...(await setting(redis, 'maxmemory-policy')),
    };
  } catch (error) {
    logger.warn({ err: error }, 'Redis does not tell its settings (CONFIG GET); its durability counts as none');
    return 'none';
  }
  const evicts = settings['maxmemory-policy'] !== 'noeviction';
  if (evicts)
    logger.warn(
      { policy: settings['maxmemory-policy'] },
      'Redis may evict keys of the queue; set maxmemory-policy noeviction',
    );
  if (evicts || settings['appendonly'] !== 'yes') return 'none';
  if (settings['appendfsync'] === 'always') return 'fsync';
  return settings['appendfsync'] === 'everysec' ? 'everysec' : 'none';
}

async function setting(redis: Redis, name: string): Promise<Record<string, string>> {
  const reply: unknown = await redis.config('GET', name);
  // RESP2 answers a flat list, RESP3 a map.
  if (Array.isArray(reply)) return { [name]: String(reply[1]) };
  return Object.fromEntries(
    Object.entries(reply as Record<string, unknown>).map(([key, value]) => [key, String(value)]),
  );
}
