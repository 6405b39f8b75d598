// SPDX-License-Identifier: Apache-2.0
import { Agent, request } from 'undici';
import { startGateway } from './gateway-server.ts';
import { startNoopUnit } from './noop-unit.ts';
import { quantile } from './statistics.ts';

const WARM_UP = 100;
const SAMPLES = 300;

export interface IdleLatency {
  readonly p50: number;
  readonly p90: number;
  readonly samples: number;
}

/** Milliseconds from POST with `Prefer: wait` to the whole result, one request at a time, through a real gateway and a real unit. */
export async function measureIdleLatency(redisUrl: string, folder: string): Promise<IdleLatency> {
  const gateway = await startGateway(redisUrl, folder);
  const unit = await startNoopUnit(gateway, folder, { concurrency: 1, batchSize: 1 });
  const dispatcher = new Agent({ connections: 1 });
  const url = `http://127.0.0.1:${gateway.clientPort}${gateway.inferPath}`;
  const headers = { ...gateway.headers, prefer: 'wait=30' };
  const run = async (n: number): Promise<number> => {
    const began = performance.now();
    const answer = await request(url, {
      method: 'POST',
      dispatcher,
      headers,
      body: JSON.stringify({ prompt: `no ${n}` }),
    });
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
