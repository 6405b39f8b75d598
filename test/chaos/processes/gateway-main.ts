// SPDX-License-Identifier: Apache-2.0
/** A gateway process of a schedule: the production parts, with a clock that is wrong and a tap at the queue that writes down what passes. */
import { createLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { systemRandom } from '#base/random.ts';
import { createGateway } from '#gateway/gateway.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { openS3Store } from '#gateway/store/open.ts';
import { testApps } from '#test/integration/gateway.harness.ts';
import { makeFleet } from '../fleet.ts';
import { fileHistory } from '../history.ts';
import { tapQueue } from '../tap.ts';
import { LEASE_SECONDS, chaosApp, readSettings, skewedClock, writeWhole } from './settings.ts';
import type { GatewaySettings } from './settings.ts';

const settings = readSettings(process.argv[2]) as GatewaySettings;
const clock = skewedClock(settings.clockOffsetMs);
const logger = createLogger('gateway', 'warn');
const fleet = await makeFleet(Buffer.from(settings.master, 'hex'), settings.operatorKey);
const { redisUrl: url, redisPrefix: prefix } = settings;
const { queue } = tapQueue({
  queue: await openRedisQueue({ url, prefix, clock, logger }),
  history: fileHistory(settings.historyFile),
});
const gateway = await createGateway(
  {
    queue,
    store: await openS3Store({ ...settings.s3, publicEndpoint: settings.s3.endpoint, clock }),
    apps: testApps([chaosApp()]),
    tenants: fleet.tenants,
    clock,
    random: systemRandom,
    logger,
    registry: createRegistry('gateway', false),
    keys: fleet.keys,
    operatorJwks: () => fleet.jwks,
  },
  {
    clientHost: '127.0.0.1',
    clientPort: 0,
    internalHost: '127.0.0.1',
    internalPort: 0,
    leaseSeconds: LEASE_SECONDS,
    version: '0.0.0-chaos',
  },
);
writeWhole(settings.portsFile, await gateway.start());
