// SPDX-License-Identifier: Apache-2.0
import type { UnitConfig } from '#worker/config.ts';

export interface UnitSettings {
  /** On loopback: the unit's way to a gateway. */
  readonly port: number;
  readonly unitTokenFile: string;
  readonly concurrency: number;
  readonly batchSize: number;
}

/** A unit of a schedule: no files, no ports, no host of its own. */
export function unitConfig({ port, unitTokenFile, concurrency, batchSize }: UnitSettings): UnitConfig {
  return {
    brokerUrl: `http://127.0.0.1:${port}`,
    unitTokenFile,
    archetype: 'Handler',
    handler: 'chaos',
    python: 'python3',
    instances: 1,
    concurrency,
    batchSize,
    maxJobs: 0,
    leaseWaitSeconds: 20,
    graceSeconds: 25,
    brokerLostSeconds: 900,
    readyFile: '',
    readyTimeoutSeconds: 600,
    serverHost: '127.0.0.1',
    serverPort: 0,
    serverPath: '/',
    serverMethod: 'POST',
    serverContentType: '',
    serverHealthPath: '/healthz',
    command: '',
    parentPipe: false,
    opsHost: '127.0.0.1',
    opsPort: 0,
    logLevel: 'silent',
  };
}
