// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { startChild } from './child.ts';
import type { GatewayReady, GatewaySettings } from './gateway-process.ts';
import { measureRate } from './load.ts';
import { median } from './statistics.ts';

/** Requests in flight; a few more than the gateway needs to be busy, few enough that Redis' fsync is shared and not queued for. */
const CONNECTIONS = 64;
const SECONDS_PER_ROUND = 2;
const WARM_UP_SECONDS = 1;
const ROUNDS = 3;

export interface AcceptRates {
  readonly gateway: number;
  readonly bare: number;
  readonly ratio: number;
}

/** Accepted requests a second of the gateway and of the bare server, in alternating rounds on one Redis. */
export async function measureAcceptRates(redisUrl: string, folder: string): Promise<AcceptRates> {
  const apiKey = randomBytes(16).toString('hex');
  const settings: GatewaySettings = { redisUrl, folder, apiKey };
  const gateway = await startChild<GatewayReady>('./gateway-process.ts', settings);
  const bare = await startChild<{ port: number }>('./bare-process.ts', { redisUrl });
  const round = randomBytes(4).toString('hex');
  let numbered = 0;
  const load = (port: number, seconds: number): Promise<number> =>
    measureRate({
      port,
      path: '/v1/noop/infer',
      headers: { authorization: `Bearer ${apiKey}`, 'content-type': 'application/json' },
      connections: CONNECTIONS,
      seconds,
      // Every body is another one: a repeat would join the first instead of being accepted.
      body: () => JSON.stringify({ prompt: `${round}-${numbered++}`.padEnd(180, 'x'), max_tokens: 64 }),
      status: 202,
    });
  try {
    const rates: AcceptRates[] = [];
    for (let i = 0; i <= ROUNDS; i++) {
      const seconds = i === 0 ? WARM_UP_SECONDS : SECONDS_PER_ROUND;
      const pair = {
        gateway: await load(gateway.ready.clientPort, seconds),
        bare: await load(bare.ready.port, seconds),
      };
      if (i > 0) rates.push({ ...pair, ratio: pair.gateway / pair.bare });
    }
    const of = (name: keyof AcceptRates): number => median(rates.map((pair) => pair[name]));
    return { gateway: of('gateway'), bare: of('bare'), ratio: of('ratio') };
  } finally {
    await Promise.all([gateway.stop(), bare.stop()]);
  }
}
