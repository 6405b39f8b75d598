// SPDX-License-Identifier: Apache-2.0
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Agent, request } from 'undici';
import { UNIT_ENV } from '#base/wire/unit-env.ts';
import { startProgram } from './child.ts';
import type { BenchChild } from './child.ts';
import { startGateway } from './gateway-server.ts';
import type { GatewayServer } from './gateway-server.ts';
import { quantile } from './statistics.ts';

const WARM_UP = 100;
const SAMPLES = 300;
const HANDLER = 'export const predict = (batch) => batch.map(() => ({ ok: true }));\n';

export interface IdleLatency {
  readonly p50: number;
  readonly p90: number;
  readonly samples: number;
}

/** Milliseconds from POST with `Prefer: wait` to the whole result, one request at a time, through a real gateway and a real unit. */
export async function measureIdleLatency(redisUrl: string, folder: string): Promise<IdleLatency> {
  const gateway = await startGateway(redisUrl, folder);
  const unit = await startUnit(gateway, folder);
  const dispatcher = new Agent({ connections: 1 });
  const url = `http://127.0.0.1:${gateway.clientPort}${gateway.inferPath}`;
  const headers = { ...gateway.headers, prefer: 'wait=30' };
  const run = async (n: number): Promise<number> => {
    const began = performance.now();
    const answer = await request(url, { method: 'POST', dispatcher, headers, body: JSON.stringify({ n }) });
    const text = await answer.body.text();
    const took = performance.now() - began;
    if (answer.statusCode !== 200) throw new Error(`no result but ${answer.statusCode}: ${text}`);
    return took;
  };
  try {
    const took: number[] = [];
    for (let n = 0; n < WARM_UP + SAMPLES; n++) {
      const ms = await run(n);
      if (n >= WARM_UP) took.push(ms);
    }
    return { p50: quantile(took, 0.5), p90: quantile(took, 0.9), samples: took.length };
  } finally {
    await dispatcher.close();
    await unit.stop();
    await gateway.stop();
  }
}

function startUnit({ internalUrl, unitToken }: GatewayServer, folder: string): Promise<BenchChild> {
  writeFileSync(join(folder, 'noop.ts'), HANDLER);
  writeFileSync(join(folder, 'token'), unitToken, { mode: 0o600 });
  return startProgram({
    main: 'worker-runtime/main.ts',
    cwd: folder,
    env: {
      [UNIT_ENV.brokerUrl]: internalUrl,
      [UNIT_ENV.unitTokenFile]: 'token',
      [UNIT_ENV.archetype]: 'Handler',
      [UNIT_ENV.handler]: 'noop.ts',
      [UNIT_ENV.readyFile]: 'ready',
    },
    ready: () => existsSync(join(folder, 'ready')),
  });
}
