// SPDX-License-Identifier: Apache-2.0
import { Redis } from 'ioredis';
import type { Logger } from '#base/logger.ts';
import { QueueError } from '../errors.ts';
import type { Durability } from '../lease-queue.ts';
import { isAway, patiently, unavailable } from './runner.ts';

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

/**
 * Which layout the keys have. Looked at with every new connection, as it may lead to a server that was emptied, and taken over by another
 * version, meanwhile: no call of this build may touch those keys.
 */
export class LayoutCheck {
  readonly #redis: Redis;
  readonly #key: string;
  #looking: Promise<void> | undefined;
  /** False from the end of a connection until its successor has been looked at; then calls wait for `sound`. */
  isSound = false;

  constructor(redis: Redis, prefix: string, logger: Logger) {
    this.#redis = redis;
    this.#key = `${prefix}:layout`;
    redis.on('close', () => (this.isSound = false));
    redis.on('ready', () => {
      this.isSound = false;
      this.#looking = undefined;
      this.sound().catch((err: unknown) =>
        logger.error({ err }, 'the layout of the queue in Redis is not confirmed: no call is made'),
      );
    });
  }

  /** @throws QueueError `unavailable`, or `layout` while another version's is there: each call looks again */
  async sound(): Promise<void> {
    const looking = (this.#looking ??= this.#look());
    try {
      await looking;
    } finally {
      if (this.#looking === looking) this.#looking = undefined;
    }
  }

  async #look(): Promise<void> {
    let found: string | null;
    try {
      found = await this.#redis.get(this.#key);
      if (found === null) {
        await patiently(() => this.#redis.set(this.#key, REDIS_LAYOUT, 'NX'));
        found = await this.#redis.get(this.#key);
      }
    } catch (error) {
      throw unavailable(error);
    }
    this.isSound = found === REDIS_LAYOUT;
    if (this.isSound) return;
    throw new QueueError(
      'layout',
      `Redis key ${this.#key} says layout ${found}, this build knows ${REDIS_LAYOUT} only; use that build or another prefix`,
    );
  }
}

/** The first connection, with keys of this layout behind it. @throws QueueError `unavailable`, `layout` */
export async function connectSound(url: string, prefix: string, logger: Logger): Promise<[Redis, LayoutCheck]> {
  const redis = connect(url, `${prefix}-queue`, logger);
  const layout = new LayoutCheck(redis, prefix, logger);
  try {
    await redis.connect().catch((error: unknown) => {
      throw unavailable(error);
    });
    await layout.sound();
  } catch (error) {
    redis.disconnect();
    throw error;
  }
  return [redis, layout];
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
