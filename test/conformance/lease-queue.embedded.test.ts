// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { openEmbeddedQueue } from '#gateway/queue/open.ts';
import { leaseQueueSuites } from './lease-queue.suites.ts';

leaseQueueSuites({
  name: 'embedded',
  fresh: async () => openEmbeddedQueue({ file: ':memory:', clock: systemClock, logger: silentLogger }),
});
