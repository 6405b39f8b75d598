// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { inject } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { budgetSuite } from './lease-queue-budgets.suite.ts';
import { housekeepingSuite } from './lease-queue-housekeeping.suite.ts';
import { laneSuite } from './lease-queue-lanes.suite.ts';
import { letterSuite } from './lease-queue-letters.suite.ts';
import { recoverySuite } from './lease-queue-recovery.suite.ts';
import { shareSuite } from './lease-queue-shares.suite.ts';
import { tokenSuite } from './lease-queue-tokens.suite.ts';
import { unitSuite } from './lease-queue-units.suite.ts';
import type { QueueDriver } from './lease-queue.harness.ts';
import { requestSuite } from './lease-queue.suite.ts';

const driver: QueueDriver = {
  name: 'redis',
  fresh: () =>
    openRedisQueue({
      url: inject('servers').redis.url,
      clock: systemClock,
      logger: silentLogger,
      prefix: `test-${randomBytes(6).toString('hex')}`,
    }),
};

for (const suite of [
  requestSuite,
  tokenSuite,
  budgetSuite,
  unitSuite,
  housekeepingSuite,
  recoverySuite,
  shareSuite,
  laneSuite,
  letterSuite,
])
  suite(driver);
