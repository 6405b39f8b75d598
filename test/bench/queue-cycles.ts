// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { Job, Queue, Worker } from 'bullmq';
import type { JobJson } from 'bullmq';
import { Redis } from 'ioredis';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { systemRandom } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import type { Lease, LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { newRequest } from './request.ts';
import { median } from './statistics.ts';

/** Items in flight at any time, the same for both. Ours are held by units, each with as many slots as one GPU worker may have. */
const CONCURRENCY = 64;
const SLOTS_PER_UNIT = 8;
const CYCLES_PER_ROUND = 2000;
const ROUNDS = 9;
/** On a slow or busy machine fewer rounds will do. */
const MIN_ROUNDS = 3;
const TIME_LIMIT_MS = 12_000;
const FILL_CHUNK = 500;
const LEASE_MS = 30_000;
/** What both carry: a small JSON body in, a small result out. */
const BODY = JSON.stringify({ prompt: 'x'.repeat(180), max_tokens: 64 });
const RESULT = JSON.stringify({ text: 'y'.repeat(40) });
const APP = 'cycles';
const TOKEN = 'token';

/** One system under test: work is put in, then leased and completed until it is gone. */
interface Contender {
  fill(count: number): Promise<void>;
  /** Leases and completes `count` items, CONCURRENCY of them in flight. */
  drain(count: number): Promise<void>;
  close(): Promise<void>;
}

/** What is measured: ours with the batches of a unit, ours one by one as BullMQ does, ours that waits for each call (as the worker does for one slot), and the peer. */
type Rates = Readonly<Record<'ours' | 'single' | 'apart' | 'bullmq', number>>;

export interface CycleRates {
  /** Cycles a second. */
  readonly rates: Rates;
  /** Of BullMQ's rate, each of rounds that ran next to each other. */
  readonly ratios: Rates;
}

/** Cycles a second on one Redis, in alternating rounds: what slows the machine for a while slows all. */
export async function measureCycles(redisUrl: string): Promise<CycleRates> {
  const queue = await openRedisQueue({ url: redisUrl, clock: systemClock, logger: silentLogger });
  const bullmq = await openBullMq(redisUrl);
  const contenders: Readonly<Record<keyof Rates, Contender>> = {
    ours: contender(queue, SLOTS_PER_UNIT, 'together'),
    single: contender(queue, 1, 'together'),
    apart: contender(queue, SLOTS_PER_UNIT, 'apart'),
    bullmq,
  };
  const rounds: Rates[] = [];
  const end = performance.now() + TIME_LIMIT_MS;
  try {
    // The first round warms the compilers up and is not counted.
    for (let round = 0; round <= ROUNDS && (round <= MIN_ROUNDS || performance.now() < end); round++) {
      const rates = { ours: 0, single: 0, apart: 0, bullmq: 0 };
      // The peer in the middle, so that no side has the better moment.
      for (const name of ['single', 'ours', 'bullmq', 'apart'] as const) rates[name] = await rate(contenders[name]);
      if (round > 0) rounds.push(rates);
    }
  } finally {
    await Promise.all([queue.close(), bullmq.close()]);
  }
  return {
    rates: medians(rounds, (round, name) => round[name]),
    ratios: medians(rounds, (round, name) => round[name] / round.bullmq),
  };
}

function medians(rounds: readonly Rates[], value: (round: Rates, name: keyof Rates) => number): Rates {
  const of = (name: keyof Rates): number => median(rounds.map((round) => value(round, name)));
  return { ours: of('ours'), single: of('single'), apart: of('apart'), bullmq: of('bullmq') };
}

async function rate(contender: Contender): Promise<number> {
  await contender.fill(CYCLES_PER_ROUND);
  const began = performance.now();
  await contender.drain(CYCLES_PER_ROUND);
  return CYCLES_PER_ROUND / ((performance.now() - began) / 1000);
}

/**
 * Our queue with units of so many slots. `together`: what is done is completed and the next work leased in one round trip, as BullMQ's
 * best path does; else each waits for the other.
 */
function contender(queue: LeaseQueue, slots: number, how: 'together' | 'apart'): Contender {
  const body = Buffer.from(BODY);
  const result = { contentType: 'application/json', bytes: RESULT.length, inline: Buffer.from(RESULT) };
  const complete = async (unit: string, leases: readonly Lease[]): Promise<void> => {
    const done = leases.map(({ id, token }) => ({ id, token, result, serviceMicros: 1000 }));
    const outcomes = await queue.complete(APP, unit, done);
    if (outcomes.some((outcome) => outcome !== 'committed')) throw new Error(`completions were ${outcomes.join()}`);
  };
  return {
    fill: async (count) => {
      for (let done = 0; done < count; done += FILL_CHUNK) {
        const some = Array.from({ length: FILL_CHUNK }, () => newRequest(APP, uuid7(systemClock, systemRandom), body));
        await queue.enqueue(some);
      }
    },
    drain: async (count) => {
      let left = count;
      const run = async (_: unknown, loop: number): Promise<void> => {
        const unit = `unit-${slots}-${how}-${loop}`;
        const next = (): Promise<readonly Lease[]> => {
          const max = Math.min(slots, left);
          left -= max;
          return max === 0 ? Promise.resolve([]) : leaseSome(queue, unit, max);
        };
        for (let held = await next(); held.length > 0;) {
          const completed = complete(unit, held);
          if (how === 'apart') await completed;
          // Sent in this order on one connection: the slots are free when the lease is asked for.
          [held] = await Promise.all([next(), completed]);
        }
      };
      await Promise.all(Array.from({ length: CONCURRENCY / slots }, run));
    },
    close: () => queue.close(),
  };
}

async function leaseSome(queue: LeaseQueue, unit: string, max: number): Promise<readonly Lease[]> {
  const { leases } = await queue.lease({
    app: APP,
    unit,
    revision: 'rev1',
    currentRevision: 'rev1',
    lanes: ['online', 'batch'],
    max,
    leaseMs: LEASE_MS,
    nonces:
      randomBytes(8 * max)
        .toString('hex')
        .match(/.{16}/g) ?? [],
    floor: 0,
    lingerMs: LEASE_MS,
    desiredState: 'Ready',
  });
  if (leases.length !== max) throw new Error('the queue ran dry');
  return leases;
}

/**
 * BullMQ without its own loop, which would add its timers and events, but with its best path: the call that completes a job also
 * fetches the next one, so that a cycle is one round trip. It has no batches.
 */
async function openBullMq(url: string): Promise<Contender> {
  const connections = [0, 1].map(() => new Redis(url, { maxRetriesPerRequest: null }));
  const [forQueue, forWorker] = connections as [Redis, Redis];
  const queue = new Queue(APP, { connection: forQueue });
  const worker = new Worker(APP, null, { connection: forWorker, autorun: false, lockDuration: LEASE_MS });
  await Promise.all([queue.waitUntilReady(), worker.waitUntilReady()]);
  const data = JSON.parse(BODY) as unknown;
  const result = JSON.parse(RESULT) as unknown;
  return {
    fill: async (count) => {
      for (let done = 0; done < count; done += FILL_CHUNK) {
        await queue.addBulk(Array.from({ length: FILL_CHUNK }, () => ({ name: 'job', data })));
      }
    },
    drain: async (count) => {
      let left = count - CONCURRENCY;
      const run = async (): Promise<void> => {
        let job: Job | undefined = await worker.getNextJob(TOKEN, { block: false });
        for (;;) {
          if (!job) throw new Error('BullMQ ran dry');
          const fetchNext = left-- > 0;
          // What its own worker makes of the answer.
          const next = (await job.moveToCompleted(result, TOKEN, fetchNext)) as [JobJson?, string?] | undefined;
          if (!fetchNext) return;
          job = next?.[0] && Job.fromJSON(worker, next[0], next[1]);
        }
      };
      await Promise.all(Array.from({ length: CONCURRENCY }, run));
    },
    close: async () => {
      await worker.close();
      await queue.close();
      for (const connection of connections) connection.disconnect();
    },
  };
}
