// SPDX-License-Identifier: Apache-2.0
import { Redis } from 'ioredis';
import { expect, it } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import type { Regression } from '#gateway/queue/lease-queue.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { startRedis } from '#test/servers/redis.ts';
import { startTcpProxy } from '#test/tcp-proxy.ts';
import { until } from '#test/until.ts';
import { Scenario } from './lease-queue.harness.ts';

const PATIENCE_MS = 30_000;

const role = async (admin: Redis): Promise<string> => /^role:(\w+)/m.exec(await admin.info('replication'))?.[1] ?? '';

it(
  'a failover to a replica: calls wait for the new primary, and no request is lost or doubled',
  { timeout: 120_000 },
  async () => {
    const [first, second] = await Promise.all([startRedis({ appendonly: true }), startRedis({ appendonly: true })]);
    const [one, two] = [new Redis(first.url), new Redis(second.url)];
    // What a name is in a cluster: an address whose new connections go to the primary of the moment, while those made before stay.
    const name = await startTcpProxy(first.port);
    const queue = await openRedisQueue({
      url: `redis://127.0.0.1:${name.port}`,
      clock: systemClock,
      logger: silentLogger,
    });
    try {
      const heard: Regression[] = [];
      queue.onRegression((found) => heard.push(found));
      await two.replicaof('127.0.0.1', first.port);
      await until(async () => (await two.info('replication')).includes('master_link_status:up'), {
        what: 'the replica to follow',
        timeoutMs: PATIENCE_MS,
      });
      const s = new Scenario(queue);
      const accepted = new Set<string>();
      const before = await s.add();
      const lease = await s.take();
      const add = async (): Promise<void> => {
        accepted.add(await s.add());
      };
      await Promise.all(Array.from({ length: 20 }, add));

      // A coordinated failover: the primary stops writes, the replica catches up and takes over, the old one follows it.
      await one.call('FAILOVER', 'TO', '127.0.0.1', String(second.port));
      await until(async () => (await role(two)) === 'master' && (await role(one)) === 'slave', {
        what: 'the replica to be promoted',
        timeoutMs: PATIENCE_MS,
      });
      // The queue's connection still leads to the old primary, which is a replica now and refuses scripts; until the name follows.
      const during = Array.from({ length: 20 }, add);
      const finished = s.complete(lease);
      await until(async () => (await one.info('errorstats')).includes('errorstat_READONLY'), {
        what: 'a call to be refused',
        timeoutMs: PATIENCE_MS,
      });
      name.point(second.port);
      await Promise.all(during);

      expect(await finished).toBe('committed');
      expect(await role(two)).toBe('master');
      expect((await s.record(before)).state).toBe('succeeded');
      const order = await s.drain('u2', { max: 8 });
      expect(order).toHaveLength(40);
      expect(new Set(order)).toEqual(accepted);
      expect(heard.some((found) => found.kind === 'went-back')).toBe(false);
      const run = await queue.run();
      await until(() => heard.some((found) => found.kind === 'restarted' && found.run === run), {
        what: 'the other process to be told of',
        timeoutMs: PATIENCE_MS,
      });
    } finally {
      await queue.close();
      await name.close();
      one.disconnect();
      two.disconnect();
      await Promise.all([first.stop(), second.stop()]);
    }
  },
);
