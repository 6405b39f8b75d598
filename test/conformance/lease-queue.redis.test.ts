// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { leaseQueueSuites } from './lease-queue.suites.ts';

leaseQueueSuites({
  name: 'redis',
  fresh: () =>
    openRedisQueue({
      url: inject('servers').redis.url,
      clock: systemClock,
      logger: silentLogger,
      prefix: `test-${randomBytes(6).toString('hex')}`,
    }),
});
