// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OBJECTS } from '#crds/names.ts';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { systemRandom } from '#base/random.ts';
import { watchKubeApps } from '#gateway/apps/kube-source.ts';
import { watchKeysConfigMap } from '#gateway/auth/operator-keys.ts';
import { createGateway } from '#gateway/gateway.ts';
import { deriveKey, deriveKeys } from '#gateway/keys.ts';
import { openEmbeddedQueue } from '#gateway/queue/open.ts';
import { createLocalStoreHandler, openLocalStore } from '#gateway/store/open.ts';
import { createKubeClient } from '#kube/client.ts';
import { createKubeMetrics } from '#kube/kube-metrics.ts';
import { createTransport } from '#kube/transport.ts';
import type { ApiServer } from '#test/servers/apiserver.ts';
import { freePort } from '#test/servers/free-port.ts';
import { tenantsWithKeys } from './gateway.harness.ts';
import { asAccount } from './operator.harness.ts';

export interface RealGateway {
  /** Base URL of the client port. */
  readonly url: string;
  /** Base URL of the internal port. */
  readonly internal: string;
  close(): Promise<void>;
}

/** A lease of a unit that was killed is given to another one after this. */
const LEASE_SECONDS = 4;

/** The gateway as it runs in a cluster: its apps and the operator's keys watched, as its own service account. */
export async function startRealGateway(api: ApiServer, keys: Readonly<Record<string, string>>): Promise<RealGateway> {
  const dir = mkdtempSync(join(tmpdir(), 'penstock-operator-gateway-'));
  const master = randomBytes(32);
  const around = { clock: systemClock, random: systemRandom, logger: silentLogger };
  const kubeConfig = asAccount(api, 'gateway');
  const registry = createRegistry('gateway', false);
  const kube = {
    ...around,
    client: createKubeClient(createTransport(kubeConfig)),
    metrics: createKubeMetrics(registry),
  };
  const apps = watchKubeApps(kube);
  const operatorKeys = watchKeysConfigMap(kube, OBJECTS.systemNamespace);
  const queue = openEmbeddedQueue({ file: join(dir, 'queue.db'), clock: systemClock, logger: silentLogger });
  const [clientPort, internalPort] = [await freePort(), await freePort()];
  const [url, internal] = [`http://127.0.0.1:${clientPort}`, `http://127.0.0.1:${internalPort}`];
  const store = await openLocalStore({
    root: join(dir, 'objects'),
    signingKey: deriveKey(master, 'objects'),
    clientUrl: `${url}/objects`,
    workerUrl: `${internal}/objects`,
    ...around,
  });
  const gateway = await createGateway(
    {
      ...around,
      queue,
      store,
      apps,
      tenants: tenantsWithKeys(keys),
      registry,
      keys: await deriveKeys(master),
      operatorJwks: () => operatorKeys.jwks(),
      objects: createLocalStoreHandler(store, { logger: silentLogger, mount: '/objects' }),
    },
    {
      clientHost: '127.0.0.1',
      clientPort,
      internalHost: '127.0.0.1',
      internalPort,
      leaseSeconds: LEASE_SECONDS,
      version: '0.0.0-test',
    },
  );
  await gateway.start();
  return {
    url,
    internal,
    close: async () => {
      await gateway.stop();
      await Promise.all([apps.close(), operatorKeys.close(), queue.close(), store.close()]);
      await kubeConfig.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
