// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util';
import { systemClock } from '#base/clock.ts';
import { ConfigError } from '#base/config.ts';
import { createLogger } from '#base/logger.ts';
import { startOpsServer } from '#base/ops-server.ts';
import { createRegistry } from '#base/metrics.ts';
import { createShutdown, stopOnSignals } from '#base/shutdown.ts';
import type { Shutdown } from '#base/shutdown.ts';
import { openAccessLog } from './access-log.ts';
import { loadGatewayConfig } from './config.ts';
import type { GatewayConfig } from './config.ts';
import { createGateway } from './gateway.ts';
import { openParts } from './parts.ts';

const VERSION = process.env['PENSTOCK_VERSION'] ?? '0.1.0-dev';

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { config: { type: 'string' } } });
  const config = loadGatewayConfig({ file: values.config ?? process.env['PENSTOCK_CONFIG'], env: process.env });
  const logger = createLogger('gateway', config.logLevel);
  const shutdown = createShutdown(logger);
  stopOnSignals(shutdown);
  try {
    await run(config, shutdown, logger);
  } catch (err) {
    logger.error({ err }, 'the gateway cannot start');
    shutdown.begin('start failed');
    await shutdown.done;
    return 1;
  }
  await shutdown.done;
  return 0;
}

async function run(config: GatewayConfig, shutdown: Shutdown, logger: ReturnType<typeof createLogger>): Promise<void> {
  const registry = createRegistry('gateway');
  const parts = await openParts(config, { logger, registry, shutdown });
  const accessLog = openAccessLog(config.accessLog, systemClock);
  shutdown.onStop('access log', () => accessLog.close());
  const gateway = await createGateway(
    { ...parts, clock: systemClock, logger, accessLog: accessLog.logger, registry },
    {
      clientHost: config.clientHost,
      clientPort: config.clientPort,
      internalHost: config.internalHost,
      internalPort: config.internalPort,
      leaseSeconds: config.leaseSeconds,
      lameDuckMs: config.lameDuckSeconds * 1000,
      version: VERSION,
    },
  );
  if (config.durability === 'required') await requireDurability(parts.queue.durability());
  // The ops port comes first and goes last: a probe must hear "not ready" while the rest starts and stops.
  const ops = await startOpsServer({
    host: config.opsHost,
    port: config.opsPort,
    registry,
    notReady: () => gateway.notReady(),
    readyNote: () => gateway.readyNote(),
  });
  shutdown.onStop('ops port', () => ops.close());
  shutdown.onStop('gateway', () => gateway.stop());
  await gateway.start();
}

async function requireDurability(promise: Promise<string>): Promise<void> {
  const durability = await promise;
  if (durability === 'fsync') return;
  throw new ConfigError(
    'durability',
    `required, and the queue promises only ${durability}: set appendonly yes and appendfsync always in Redis, or durability: reported`,
  );
}

try {
  process.exitCode = await main();
} catch (err) {
  if (!(err instanceof ConfigError)) throw err;
  // A wrong setting is the user's to mend: the sentence that names it, without our stack.
  process.stderr.write(`${err.message}\n`);
  process.exitCode = 2;
}
