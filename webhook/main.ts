// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { parseArgs } from 'node:util';
import { systemClock } from '#base/clock.ts';
import { ConfigError } from '#base/config.ts';
import { NO_LINE_LOG, openLineLog } from '#base/line-log.ts';
import { createLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { startOpsServer } from '#base/ops-server.ts';
import { systemRandom } from '#base/random.ts';
import { createShutdown, stopOnSignals } from '#base/shutdown.ts';
import { createKubeClient } from '#kube/client.ts';
import { PooledKubeConfig } from '#kube/pooled-config.ts';
import { createTransport } from '#kube/transport.ts';
import { loadWebhookConfig } from './config.ts';
import type { WebhookConfig } from './config.ts';
import { deferHelperThreads } from './server/helper-threads.ts';
import { createWebhook } from './webhook.ts';

const EXIT_FAILED = 1;
const EXIT_CONFIG = 2;

async function main(config: WebhookConfig): Promise<void> {
  deferHelperThreads();
  const logger = createLogger('webhook', config.logLevel);
  const registry = createRegistry('webhook');
  const kubeConfig = PooledKubeConfig.load(config.kubeconfig || undefined);
  const client = createKubeClient(createTransport(kubeConfig, 'penstock-webhook'));
  const changes = ['debug', 'info'].includes(config.logLevel) ? openLineLog('webhook', systemClock) : NO_LINE_LOG;
  const shutdown = createShutdown(logger);
  stopOnSignals(shutdown);
  const instance = config.instance || hostname();
  const webhook = createWebhook({
    client,
    registry,
    config,
    identity: `${instance}_${Buffer.from(systemRandom.bytes(4)).toString('hex')}`,
    clock: systemClock,
    random: systemRandom,
    logger,
    changes: changes.logger,
    ...(config.clientCa === '' ? {} : { clientCa: readFileSync(config.clientCa, 'utf8') }),
  });
  // The ops port comes first and goes last: a probe must hear "not ready" while the rest starts and stops.
  const ops = await startOpsServer({
    host: config.opsHost,
    port: config.opsPort,
    registry,
    notReady: () => (shutdown.signal.aborted ? 'stopping' : webhook.notReady()),
  });
  shutdown.onStop('ops server', () => ops.close());
  shutdown.onStop('log of changes', () => changes.close());
  shutdown.onStop('connections', () => kubeConfig.close());
  shutdown.onStop('webhook', () => webhook.stop());
  const port = await webhook.start();
  if (port !== undefined) logger.info({ port, opsPort: ops.port, instance }, 'webhook started');
  await shutdown.done;
  process.exit();
}

try {
  const { values } = parseArgs({ options: { config: { type: 'string' } } });
  await main(loadWebhookConfig({ file: values.config, env: process.env }));
} catch (err) {
  process.stderr.write(`penstock-webhook: ${err instanceof Error ? err.message : String(err)}\n`);
  process.exitCode = err instanceof ConfigError ? EXIT_CONFIG : EXIT_FAILED;
}
