// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { closeServer, listen } from '#base/ops-server.ts';
import { systemRandom } from '#base/random.ts';
import { createLocalStoreHandler, openLocalStore } from '#gateway/store/open.ts';
import type { LocalStoreHandler } from '#gateway/store/open.ts';
import { objectStoreSuite } from './object-store.suite.ts';
import { signedUrlSuite } from './object-store-urls.suite.ts';
import type { StoreHarness } from './object-store.harness.ts';

const HEADER_BYTES = 512;

async function openHarness(): Promise<StoreHarness> {
  const folder = await mkdtemp(join(tmpdir(), 'penstock-store-'));
  let handler: LocalStoreHandler | undefined;
  const server = createServer((request, response) => handler?.(request, response));
  const port = await listen(server, '127.0.0.1', 0);
  const [clientOrigin, workerOrigin] = [`http://localhost:${port}`, `http://127.0.0.1:${port}`];
  const root = join(folder, 'store');
  const store = await openLocalStore({
    root,
    signingKey: randomBytes(32),
    clientUrl: `${clientOrigin}/objects`,
    workerUrl: `${workerOrigin}/objects/`,
    clock: systemClock,
    random: systemRandom,
  });
  handler = createLocalStoreHandler(store, { logger: silentLogger, mount: '/objects' });
  return {
    store,
    clientOrigin,
    workerOrigin,
    raw: async (key) => {
      const file = await readFile(join(root, 'objects', `${key}=`));
      const meta = JSON.parse(
        file
          .subarray(0, HEADER_BYTES)
          .toString()
          .replace(/^penstock-object 1 /, ''),
      ) as { contentType: string };
      return { bytes: file.subarray(HEADER_BYTES), contentType: meta.contentType };
    },
    leftovers: () => readdir(join(root, 'tmp')),
    child: {
      driver: 'local',
      options: { root: join(folder, 'child'), clientUrl: clientOrigin, workerUrl: workerOrigin },
    },
    refusal: { statuses: [403], type: /^application\/problem\+json$/ },
    close: async () => {
      server.closeAllConnections();
      await closeServer(server);
      await store.close();
      await rm(folder, { recursive: true });
    },
  };
}

objectStoreSuite('local', openHarness);
signedUrlSuite('local', openHarness);
