// SPDX-License-Identifier: Apache-2.0
// The product's gateway over Redis and a local store, with an API key and its log on, serving one app: settings {redisUrl, folder, apiKey}.
import { hash, randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { systemClock } from '#base/clock.ts';
import { createSigner, generateIssuerKey, publicJwks } from '#base/issuer.ts';
import { createLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { systemRandom } from '#base/random.ts';
import { parseTenants } from '#gateway/auth/tenants.ts';
import { createGateway } from '#gateway/gateway.ts';
import { deriveKey, deriveKeys } from '#gateway/keys.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { createLocalStoreHandler, openLocalStore } from '#gateway/store/open.ts';
import { testApp, testApps, unitToken } from '#test/integration/gateway.harness.ts';
import { freePort } from '#test/servers/free-port.ts';
import { announce, childSettings } from './child.ts';

export interface GatewaySettings {
  readonly redisUrl: string;
  readonly folder: string;
  readonly apiKey: string;
}

export interface GatewayReady {
  readonly clientPort: number;
  readonly internalUrl: string;
  /** A unit token of the app. */
  readonly token: string;
}

const settings = childSettings() as GatewaySettings;
const logger = createLogger('gateway', 'info');
const [clientPort, internalPort] = [await freePort(), await freePort()];
const internalUrl = `http://127.0.0.1:${internalPort}`;
const master = randomBytes(32);
const operatorKey = await generateIssuerKey();
const store = await openLocalStore({
  root: join(settings.folder, 'objects'),
  signingKey: deriveKey(master, 'objects'),
  clientUrl: `http://127.0.0.1:${clientPort}/objects`,
  workerUrl: `${internalUrl}/objects`,
  clock: systemClock,
  random: systemRandom,
});
const gateway = await createGateway(
  {
    queue: await openRedisQueue({ url: settings.redisUrl, clock: systemClock, logger }),
    store,
    apps: testApps([testApp({ name: 'noop', lingerSeconds: 3600 })]),
    tenants: parseTenants({
      tenants: [{ name: 'bench', namespace: 'default', apiKeys: [{ sha256: hash('sha256', settings.apiKey) }] }],
    }),
    clock: systemClock,
    random: systemRandom,
    logger,
    registry: createRegistry('gateway'),
    keys: await deriveKeys(master),
    operatorJwks: () => publicJwks([operatorKey]),
    objects: createLocalStoreHandler(store, { logger, mount: '/objects' }),
  },
  { clientHost: '127.0.0.1', clientPort, internalHost: '127.0.0.1', internalPort, leaseSeconds: 30, version: 'bench' },
);
await gateway.start();
const token = await unitToken(await createSigner(operatorKey, systemClock), 'noop-1');
announce({ clientPort, internalUrl, token } satisfies GatewayReady);
