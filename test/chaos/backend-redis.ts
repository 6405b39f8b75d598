// SPDX-License-Identifier: Apache-2.0
import type { Redis } from 'ioredis';
import type { Clock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { Random } from '#base/random.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import type { Backend, QueueHandle } from './backend.ts';
import { startFaultProxy } from './fault-proxy.ts';

/** Keys that outlive the requests of an app: what the deployment is, which apps there are, and the app's own counters. */
const LASTING = { app: /:(?:layout|apps|m)$/, purged: /:(?:layout|m)$/ } as const;

export interface RedisBackendOptions {
  readonly port: number;
  /** First part of every key: one of its own for each schedule. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly random: Random;
  /** Shared by all schedules of the process, for what is left. */
  readonly client: Redis;
}

/** Real Redis; every gateway reaches it through a network of its own. */
export async function redisBackend({ port, prefix, clock, random, client }: RedisBackendOptions): Promise<Backend> {
  const direct = await openRedisQueue({ url: `redis://127.0.0.1:${port}`, prefix, clock, logger: silentLogger });
  const opened: LeaseQueue[] = [];
  const keys = async (): Promise<string[]> => await client.keys(`${prefix}:*`);

  const open = async (): Promise<QueueHandle> => {
    const proxy = await startFaultProxy(() => port, random);
    const url = `redis://127.0.0.1:${proxy.port}`;
    const queue = await openRedisQueue({ url, prefix, clock, logger: silentLogger });
    opened.push(queue);
    return {
      queue,
      setRate: proxy.setRate,
      sever: proxy.kill,
    };
  };
  return {
    gateways: 2,
    open,
    view: () => direct,
    flushScripts: async () => {
      await Promise.all([client.script('FLUSH', 'SYNC'), client.function('FLUSH', 'SYNC')]);
    },
    leftovers: async (of) =>
      (await keys()).filter((key) => !LASTING[of].test(key)).map((key) => key.slice(prefix.length)),
    close: async () => {
      await direct.close();
      // The connections of gateways that were killed give up by themselves; nobody waits for them.
      for (const queue of opened) void queue.close().catch(() => undefined);
      const rest = await keys();
      if (rest.length > 0) await client.unlink(...rest);
    },
  };
}
