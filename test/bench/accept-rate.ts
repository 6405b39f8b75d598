// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { freePort } from '#test/servers/free-port.ts';
import { startProgram } from './child.ts';
import type { BenchChild } from './child.ts';
import { cpuSeconds } from './cpu-time.ts';
import { startGateway } from './gateway-server.ts';
import type { GatewayKind } from './gateway-server.ts';
import { measureLoad } from './load.ts';
import { NumberedRequest } from './numbered-request.ts';
import { median, quantile } from './statistics.ts';

/** Requests in flight; a few more than the gateway needs to be busy, few enough that Redis' fsync is shared and not queued for. */
const CONNECTIONS = 64;
const BODY_BYTES = 1024;
/** Short rounds and many: whatever else the machine does meanwhile slows neighbours alike. */
const SECONDS_PER_ROUND = 0.8;
const WARM_UP_SECONDS = 3;
const ROUNDS = 15;

/** Medians over the rounds. */
export interface AcceptRate {
  readonly perSecond: number;
  /** Of the rate of the bare server in the rounds beside. */
  readonly ratio: number;
  /** Milliseconds from the request's first byte to the whole 202. */
  readonly p50: number;
  readonly p99: number;
  /** CPU time of the server's process per accepted request, in µs: says the same when the machine is busy with other things. */
  readonly cpuMicros: number;
  /** CPU time of the bare server ÷ ours. */
  readonly cpuRatio: number;
}

type Name = 'bare' | GatewayKind;

interface Contender {
  readonly child: BenchChild;
  readonly port: number;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

interface Round {
  readonly perSecond: number;
  readonly took: readonly number[];
  readonly cpuSeconds: number;
}

/** Accepted requests a second of the bare server and of gateways, in alternating rounds on one Redis. */
export async function measureAcceptRates(
  redisUrl: string,
  folder: string,
  kinds: readonly GatewayKind[],
): Promise<ReadonlyMap<Name, AcceptRate>> {
  const contenders = new Map<Name, Contender>();
  const rounds = new Map<Name, Round[]>();
  try {
    contenders.set('bare', await startBare(redisUrl, folder));
    for (const kind of kinds) contenders.set(kind, await startOurs(redisUrl, folder, kind));
    for (let i = 0; i <= ROUNDS; i++) {
      for (const [name, contender] of contenders) {
        const round = await run(contender, i === 0 ? WARM_UP_SECONDS : SECONDS_PER_ROUND);
        if (i > 0) rounds.set(name, [...(rounds.get(name) ?? []), round]);
      }
    }
  } finally {
    await Promise.all([...contenders.values()].map(({ child }) => child.stop()));
  }
  const bare = rounds.get('bare') ?? [];
  return new Map([...rounds].map(([name, its]) => [name, summary(its, bare)]));
}

function summary(rounds: readonly Round[], bare: readonly Round[]): AcceptRate {
  const took = rounds.flatMap((round) => round.took);
  const over = (value: (round: Round, beside: Round) => number): number =>
    median(rounds.map((round, i) => value(round, bare[i] ?? round)));
  return {
    perSecond: over(({ perSecond }) => perSecond),
    ratio: over(({ perSecond }, beside) => perSecond / beside.perSecond),
    p50: quantile(took, 0.5),
    p99: quantile(took, 0.99),
    cpuMicros: cpuMicros(rounds),
    cpuRatio: cpuMicros(bare) / cpuMicros(rounds),
  };
}

function cpuMicros(rounds: readonly Round[]): number {
  const seconds = rounds.reduce((sum, round) => sum + round.cpuSeconds, 0);
  return (seconds * 1e6) / rounds.reduce((sum, { took }) => sum + took.length, 0);
}

async function run({ child, port, path, headers }: Contender, seconds: number): Promise<Round> {
  const before = cpuSeconds(child.pid);
  const { perSecond, took } = await measureLoad({
    port,
    connections: CONNECTIONS,
    seconds,
    prepare: () => new NumberedRequest(path, headers, BODY_BYTES),
    round: async (request, connection) => {
      const answer = await connection.exchange(request.next());
      if (answer.status !== 202) throw new Error(`expected 202, got ${answer.describe()}`);
    },
  });
  return { perSecond, took, cpuSeconds: cpuSeconds(child.pid) - before };
}

async function startOurs(redisUrl: string, parent: string, kind: GatewayKind): Promise<Contender> {
  const folder = join(parent, kind);
  mkdirSync(folder);
  const gateway = await startGateway(redisUrl, folder, kind);
  return { child: gateway, port: gateway.clientPort, path: gateway.inferPath, headers: gateway.headers };
}

async function startBare(redisUrl: string, folder: string): Promise<Contender> {
  const port = await freePort();
  const child = await startProgram({
    main: 'test/bench/bare-server.ts',
    cwd: folder,
    env: { BARE_PORT: String(port), BARE_REDIS: redisUrl },
    ready: () => accepts(port),
  });
  return { child, port, path: '/', headers: { 'content-type': 'application/json' } };
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.destroy();
  return true;
}
