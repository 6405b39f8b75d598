// SPDX-License-Identifier: Apache-2.0
import { hostname } from 'node:os';
import { parseArgs } from 'node:util';
import { systemClock } from '#base/clock.ts';
import { ConfigError, loadConfig } from '#base/config.ts';
import { createLogger } from '#base/logger.ts';
import { createRegistry } from '#base/metrics.ts';
import { startOpsServer } from '#base/ops-server.ts';
import { systemRandom } from '#base/random.ts';
import { createShutdown, stopOnSignals } from '#base/shutdown.ts';
import { createKubeClient } from '#kube/client.ts';
import { PooledKubeConfig } from '#kube/pooled-config.ts';
import { createTransport } from '#kube/transport.ts';
import { OPERATOR_SCHEMA } from './config.ts';
import type { OperatorConfig } from './config.ts';
import { createOperator } from './operator.ts';

/** Ends the program when it leads no more: another replica acts, and this one's caches and memory are not to be trusted. */
const EXIT_LOST = 1;
const EXIT_CONFIG = 2;

async function main(config: OperatorConfig): Promise<void> {
  const logger = createLogger('operator', config.logLevel);
  const registry = createRegistry('operator');
  const kubeConfig = PooledKubeConfig.load(config.kubeconfig || undefined);
  const client = createKubeClient(createTransport(kubeConfig, 'penstock-operator'));
  const shutdown = createShutdown(logger);
  stopOnSignals(shutdown);
  const instance = config.instance || hostname();
  const operator = createOperator({
    kubeConfig,
    client,
    registry,
    config,
    identity: `${instance}_${Buffer.from(systemRandom.bytes(4)).toString('hex')}`,
    clock: systemClock,
    random: systemRandom,
    logger,
    onLost: () => {
      process.exitCode = EXIT_LOST;
      shutdown.begin('leadership was lost');
    },
  });
  const ops = await startOpsServer({
    host: config.opsHost,
    port: config.opsPort,
    registry,
    notReady: () => (shutdown.signal.aborted ? 'stopping' : operator.notReady()),
  });
  logger.info({ opsPort: ops.port, instance }, 'operator started');
  shutdown.onStop('ops server', () => ops.close());
  shutdown.onStop('connections', () => kubeConfig.close());
  shutdown.onStop('operator', () => operator.stop());
  await operator.start();
  await shutdown.done;
  process.exit();
}

try {
  const { values } = parseArgs({ options: { config: { type: 'string' } } });
  await main(loadConfig(OPERATOR_SCHEMA, { file: values.config, env: process.env }));
} catch (err) {
  process.stderr.write(`penstock-operator: ${err instanceof Error ? err.message : String(err)}\n`);
  process.exitCode = err instanceof ConfigError ? EXIT_CONFIG : EXIT_LOST;
}
