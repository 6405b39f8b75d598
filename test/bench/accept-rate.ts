// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { connect } from 'node:net';
import { freePort } from '#test/servers/free-port.ts';
import { startProgram } from './child.ts';
import { startGateway } from './gateway-server.ts';
import { measureRate } from './load.ts';
import { median } from './statistics.ts';

/** Requests in flight; a few more than the gateway needs to be busy, few enough that Redis' fsync is shared and not queued for. */
const CONNECTIONS = 64;
const SECONDS_PER_ROUND = 2;
const WARM_UP_SECONDS = 1;
const ROUNDS = 5;

export interface AcceptRates {
  readonly gateway: number;
  readonly bare: number;
  readonly ratio: number;
}

/** Accepted requests a second of the gateway and of the bare server, in alternating rounds on one Redis. */
export async function measureAcceptRates(redisUrl: string, folder: string): Promise<AcceptRates> {
  const gateway = await startGateway(redisUrl, folder);
  const barePort = await freePort();
  const bare = await startProgram({
    main: 'test/bench/bare-server.ts',
    cwd: folder,
    env: { BARE_PORT: String(barePort), BARE_REDIS: redisUrl },
    ready: () => accepts(barePort),
  });
  let numbered = 0;
  const load = (port: number, seconds: number): Promise<number> =>
    measureRate({
      port,
      path: gateway.inferPath,
      headers: gateway.headers,
      connections: CONNECTIONS,
      seconds,
      // Every body is another one: a repeat would join the first instead of being accepted.
      body: () => JSON.stringify({ prompt: String(numbered++).padEnd(180, 'x'), max_tokens: 64 }),
      status: 202,
    });
  try {
    const rates: AcceptRates[] = [];
    for (let i = 0; i <= ROUNDS; i++) {
      const seconds = i === 0 ? WARM_UP_SECONDS : SECONDS_PER_ROUND;
      const pair = { gateway: await load(gateway.clientPort, seconds), bare: await load(barePort, seconds) };
      if (i > 0) rates.push({ ...pair, ratio: pair.gateway / pair.bare });
    }
    const of = (name: keyof AcceptRates): number => median(rates.map((pair) => pair[name]));
    return { gateway: of('gateway'), bare: of('bare'), ratio: of('ratio') };
  } finally {
    await Promise.all([gateway.stop(), bare.stop()]);
  }
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.destroy();
  return true;
}
