// SPDX-License-Identifier: Apache-2.0
import { setTimeout as delay } from 'node:timers/promises';
import { startGateway } from './gateway-server.ts';
import { HttpConnection } from './http-connection.ts';
import { startNoopUnit } from './noop-unit.ts';
import { NumberedRequest } from './numbered-request.ts';
import { quantile } from './statistics.ts';

const WARM_UP = 200;
const SAMPLES = 500;
/** Long enough that the unit's next lease call hangs in the gateway again: the system is idle. */
const PAUSE_MS = 10;

export interface HandOff {
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly samples: number;
}

/**
 * From the first byte of a POST to the call of the handler in the worker's process, one request at a time: a little more than what lies
 * between its acceptance and the worker's having it.
 */
export async function measureHandOff(redisUrl: string, folder: string): Promise<HandOff> {
  const gateway = await startGateway(redisUrl, folder);
  const unit = await startNoopUnit(gateway, folder, { concurrency: 8, batchSize: 8 });
  const connection = await HttpConnection.open(gateway.clientPort);
  const post = new NumberedRequest(gateway.inferPath, { ...gateway.headers, prefer: 'wait=30' }, 1024);
  const took: number[] = [];
  try {
    for (let n = 0; n < WARM_UP + SAMPLES; n++) {
      await delay(PAUSE_MS);
      const sent = performance.timeOrigin + performance.now();
      const answer = await connection.exchange(post.next());
      if (answer.status !== 200) throw new Error(`expected the result, got ${answer.describe()}`);
      const { at } = JSON.parse(answer.text()) as { at: number };
      if (n >= WARM_UP) took.push(at - sent);
    }
    return { p50: quantile(took, 0.5), p99: quantile(took, 0.99), samples: took.length };
  } finally {
    connection.close();
    await unit.stop();
    await gateway.stop();
  }
}
