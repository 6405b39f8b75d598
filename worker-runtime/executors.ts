// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '#base/clock.ts';
import type { Logger } from '#base/logger.ts';
import { commandOf } from './config.ts';
import type { UnitConfig } from './config.ts';
import type { Executor } from './executor.ts';
import { spawnGuarded } from './guard.ts';
import { HandlerExecutor } from './hosts/handler-executor.ts';
import type { Channel } from './hosts/protocol.ts';
import { openPython } from './hosts/python-channel.ts';
import { openThread, userEnv } from './hosts/thread-channel.ts';
import { ModelServer } from './sidecar/model-server.ts';
import { SidecarExecutor } from './sidecar/sidecar-executor.ts';
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

/** `package.module:Class`, which no path of a TypeScript or JavaScript module is. */
const PYTHON_HANDLER = /^[A-Za-z_][\w.]*:[A-Za-z_]\w*$/;

/** The executor that the settings ask for. */
export function createExecutor(deps: ExecutorDeps): Executor {
  return deps.config.archetype === 'Sidecar' ? sidecar(deps) : handler(deps);
}

function handler({ config, identity, assets, clock, logger }: ExecutorDeps): Executor {
  const openChannel = (): Channel =>
    PYTHON_HANDLER.test(config.handler)
      ? openPython(config.python, assets.python, process.cwd())
      : openThread(assets.thread);
  return new HandlerExecutor({
    ...identity,
    openChannel,
    handler: config.handler,
    instances: config.instances,
    batchSize: config.batchSize,
    readyTimeoutMs: config.readyTimeoutSeconds * 1000,
    clock,
    logger,
  });
}

function sidecar({ config, clock, logger }: ExecutorDeps): Executor {
  const command = commandOf(config);
  const env = userEnv(process.env);
  return new SidecarExecutor({
    server: new ModelServer({
      host: config.serverHost,
      port: config.serverPort,
      path: config.serverPath,
      method: config.serverMethod,
      contentType: config.serverContentType,
      healthPath: config.serverHealthPath,
      connections: config.concurrency,
    }),
    launch: command === undefined ? undefined : () => spawnGuarded({ command, env, cwd: process.cwd(), pipes: false }),
    slots: config.concurrency,
    readyTimeoutMs: config.readyTimeoutSeconds * 1000,
    clock,
    logger,
  });
}
