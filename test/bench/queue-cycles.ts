// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { Queue, Worker } from 'bullmq';
import type { Job } from 'bullmq';
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

/** One system under test: work is put in, then leased and completed until it is gone. */
interface Contender {
  fill(count: number): Promise<void>;
  /** Leases and completes `count` items, CONCURRENCY of them in flight. */
  drain(count: number): Promise<void>;
  close(): Promise<void>;
}

export interface CycleRates {
  readonly ours: number;
  /** Ours without the batches of a unit: each of the loops leases and completes one at a time, as BullMQ does. */
  readonly single: number;
  readonly bullmq: number;
  /** ours ÷ bullmq and single ÷ bullmq, each of rounds that ran next to each other. */
  readonly ratio: number;
  readonly singleRatio: number;
}

/** Cycles a second on one Redis, in alternating rounds: what slows the machine for a while slows all. */
export async function measureCycles(redisUrl: string): Promise<CycleRates> {
  const queue = await openRedisQueue({ url: redisUrl, clock: systemClock, logger: silentLogger });
  const contenders = [contender(queue, SLOTS_PER_UNIT), await openBullMq(redisUrl), contender(queue, 1)] as const;
  const [ours, bullmq, single] = contenders;
  const rounds: CycleRates[] = [];
  const end = performance.now() + TIME_LIMIT_MS;
  try {
    // The first round warms the compilers up and is not counted.
    for (let round = 0; round <= ROUNDS && (round <= MIN_ROUNDS || performance.now() < end); round++) {
      const rates = { ours: await rate(ours), bullmq: await rate(bullmq), single: await rate(single) };
      const ratios = { ratio: rates.ours / rates.bullmq, singleRatio: rates.single / rates.bullmq };
      if (round > 0) rounds.push({ ...rates, ...ratios });
    }
  } finally {
    await Promise.all([queue.close(), bullmq.close()]);
  }
  const of = (name: keyof CycleRates): number => median(rounds.map((round) => round[name]));
  return {
    ours: of('ours'),
    single: of('single'),
    bullmq: of('bullmq'),
    ratio: of('ratio'),
    singleRatio: of('singleRatio'),
  };
}

async function rate(contender: Contender): Promise<number> {
  await contender.fill(CYCLES_PER_ROUND);
  const began = performance.now();
  await contender.drain(CYCLES_PER_ROUND);
  return CYCLES_PER_ROUND / ((performance.now() - began) / 1000);
}

/** Our queue as units use it: one call leases for all free slots, one call completes what they did. */
function contender(queue: LeaseQueue, slots: number): Contender {
  const body = Buffer.from(BODY);
  const result = { contentType: 'application/json', bytes: RESULT.length, inline: Buffer.from(RESULT) };
  return {
    fill: async (count) => {
      for (let done = 0; done < count; done += FILL_CHUNK) {
        const some = Array.from({ length: FILL_CHUNK }, () => newRequest(APP, uuid7(systemClock, systemRandom), body));
        await queue.enqueue(some);
      }
    },
    drain: (count) =>
      drainBy(CONCURRENCY / slots, slots, count, async (unit, max) => {
        const leases = await leaseSome(queue, `unit-${slots}-${unit}`, max);
        const done = leases.map(({ id, token }) => ({ id, token, result, serviceMicros: 1000 }));
        const outcomes = await queue.complete(APP, `unit-${slots}-${unit}`, done);
        if (outcomes.some((outcome) => outcome !== 'committed')) throw new Error(`completions were ${outcomes.join()}`);
      }),
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
    nonces: Array.from({ length: max }, () => randomBytes(8).toString('hex')),
    floor: 0,
    lingerMs: LEASE_MS,
    desiredState: 'Ready',
  });
  if (leases.length !== max) throw new Error('the queue ran dry');
  return leases;
}

/** Without BullMQ's own loop, so that all run the same one: getNextJob, then moveToCompleted. It has no batches. */
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
    drain: (count) =>
      drainBy(CONCURRENCY, 1, count, async () => {
        const job: Job | undefined = await worker.getNextJob('token', { block: false });
        if (!job) throw new Error('BullMQ ran dry');
        await job.moveToCompleted(result, 'token', false);
      }),
    close: async () => {
      await worker.close();
      await queue.close();
      for (const connection of connections) connection.disconnect();
    },
  };
}

/** `loops` side by side, each with at most `slots` items in flight, until `count` items are done. */
async function drainBy(
  loops: number,
  slots: number,
  count: number,
  cycle: (loop: number, items: number) => Promise<void>,
): Promise<void> {
  let left = count;
  const run = async (_: unknown, loop: number): Promise<void> => {
    while (left > 0) {
      const items = Math.min(slots, left);
      left -= items;
      await cycle(loop, items);
    }
  };
  await Promise.all(Array.from({ length: loops }, run));
}
