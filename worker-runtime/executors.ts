// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import type { UnitConfig } from './config.ts';
import type { Executor } from './executor.ts';
import { HandlerExecutor } from './hosts/handler-executor.ts';
import { openThread } from './hosts/thread-channel.ts';
import type { UnitIdentity } from './unit.ts';

/** Files that run outside this bundle: they lie beside it. */
export interface UnitAssets {
  readonly thread: URL;
  readonly python: URL;
}

export interface ExecutorDeps {
  readonly config: UnitConfig;
  readonly identity: UnitIdentity;
  readonly assets: UnitAssets;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** The executor that the settings ask for. */
export function createExecutor({ config, identity, assets, clock, logger }: ExecutorDeps): Executor {
  return new HandlerExecutor({
    ...identity,
    openChannel: () => openThread(assets.thread),
    handler: config.handler,
    instances: config.instances,
    batchSize: config.batchSize,
    readyTimeoutMs: config.readyTimeoutSeconds * 1000,
    clock,
    logger,
  });
}
