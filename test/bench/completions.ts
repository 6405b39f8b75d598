// SPDX-License-Identifier: Apache-2.0
import { cpuSeconds } from './cpu-time.ts';
import { startGateway } from './gateway-server.ts';
import type { GatewayServer } from './gateway-server.ts';
import { requestBytes } from './http-connection.ts';
import type { HttpConnection } from './http-connection.ts';
import { measureLoad } from './load.ts';
import { startNoopUnit } from './noop-unit.ts';
import { NumberedRequest } from './numbered-request.ts';
import { median, quantile } from './statistics.ts';

const CONNECTIONS = 256;
const BODY_BYTES = 1024;
const SECONDS_PER_ROUND = 1.5;
const WARM_UP_SECONDS = 4;
const ROUNDS = 8;
const PREFER = { prefer: 'wait=30' };

/** How a client comes by its result: `fetch` = 202, then a long poll of the status; `wait` = on the POST itself. */
export type Way = 'fetch' | 'wait';

export interface Completions {
  /** Median of the rounds. */
  readonly perSecond: number;
  /** Milliseconds from the first byte of the POST to the whole result. */
  readonly p50: number;
  readonly p99: number;
  /** CPU time per completion in µs, by process. */
  readonly cpuMicros: Readonly<Record<Process, number>>;
}

type Process = 'gateway' | 'unit' | 'redis' | 'client';

/** Completions a second over HTTP, client → gateway → worker → result at the client, in alternating rounds of both ways. */
export async function measureCompletions(
  redis: { readonly url: string; readonly pid: number },
  folder: string,
): Promise<Readonly<Record<Way, Completions>>> {
  const gateway = await startGateway(redis.url, folder);
  const unit = await startNoopUnit(gateway, folder, { concurrency: 256, batchSize: 64 });
  const pids: Record<Process, number> = { gateway: gateway.pid, unit: unit.pid, redis: redis.pid, client: process.pid };
  const rounds: Record<Way, Round[]> = { fetch: [], wait: [] };
  try {
    for (let i = 0; i <= ROUNDS; i++) {
      for (const way of ['fetch', 'wait'] as const) {
        const round = await run(gateway, pids, way, i === 0 ? WARM_UP_SECONDS : SECONDS_PER_ROUND);
        if (i > 0) rounds[way].push(round);
      }
    }
  } finally {
    await unit.stop();
    await gateway.stop();
  }
  return { fetch: summary(rounds.fetch), wait: summary(rounds.wait) };
}

interface Round {
  readonly perSecond: number;
  readonly took: readonly number[];
  readonly cpu: Readonly<Record<Process, number>>;
}

async function run(gateway: GatewayServer, pids: Record<Process, number>, way: Way, seconds: number): Promise<Round> {
  const before = cpuOf(pids);
  const { perSecond, took } = await measureLoad({
    port: gateway.clientPort,
    connections: CONNECTIONS,
    seconds,
    prepare: () => (way === 'wait' ? waiting(gateway) : fetching(gateway)),
    round: (completion, connection) => completion(connection),
  });
  const after = cpuOf(pids);
  const cpu = { ...after };
  for (const name of Object.keys(cpu) as Process[]) cpu[name] -= before[name];
  return { perSecond, took, cpu };
}

function cpuOf(pids: Readonly<Record<Process, number>>): Record<Process, number> {
  const { gateway, unit, redis, client } = pids;
  return {
    gateway: cpuSeconds(gateway),
    unit: cpuSeconds(unit),
    redis: cpuSeconds(redis),
    client: cpuSeconds(client),
  };
}

function summary(rounds: readonly Round[]): Completions {
  const took = rounds.flatMap((round) => round.took);
  const micros = (name: Process): number => (rounds.reduce((sum, { cpu }) => sum + cpu[name], 0) * 1e6) / took.length;
  return {
    perSecond: median(rounds.map(({ perSecond }) => perSecond)),
    p50: quantile(took, 0.5),
    p99: quantile(took, 0.99),
    cpuMicros: {
      gateway: micros('gateway'),
      unit: micros('unit'),
      redis: micros('redis'),
      client: micros('client'),
    },
  };
}

type Completion = (connection: HttpConnection) => Promise<void>;

/** The result comes as the answer to the POST. */
export function waiting({ inferPath, headers }: GatewayServer): Completion {
  const post = new NumberedRequest(inferPath, { ...headers, ...PREFER }, BODY_BYTES);
  return async (connection) => {
    const answer = await connection.exchange(post.next());
    if (answer.status !== 200) throw new Error(`expected the result, got ${answer.describe()}`);
  };
}

/** The ticket comes as the answer to the POST, the result by a long poll. */
function fetching({ inferPath, headers }: GatewayServer): Completion {
  const post = new NumberedRequest(inferPath, headers, BODY_BYTES);
  const stub = `req_${'x'.repeat(32)}`;
  const path = `${inferPath.slice(0, inferPath.lastIndexOf('/'))}/status/${stub}`;
  const get = requestBytes({ method: 'GET', path, headers: { ...headers, ...PREFER } });
  const ticketAt = get.indexOf(stub);
  return async (connection) => {
    const accepted = await connection.exchange(post.next());
    const ticket = accepted.header('penstock-ticket');
    if (accepted.status !== 202 || ticket?.length !== stub.length)
      throw new Error(`expected a ticket, got ${accepted.describe()}`);
    get.write(ticket, ticketAt, 'latin1');
    const answer = await connection.exchange(get);
    if (answer.status !== 200) throw new Error(`expected the result, got ${answer.describe()}`);
  };
}
