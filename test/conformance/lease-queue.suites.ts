// SPDX-License-Identifier: Apache-2.0
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

const SUITES = [
  requestSuite,
  tokenSuite,
  budgetSuite,
  unitSuite,
  housekeepingSuite,
  recoverySuite,
  shareSuite,
  laneSuite,
  letterSuite,
];

/** Everything that every driver does. */
export function leaseQueueSuites(driver: QueueDriver): void {
  for (const suite of SUITES) suite(driver);
}
