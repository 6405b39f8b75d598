// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { Job, Queue, Worker } from 'bullmq';
import type { JobJson } from 'bullmq';
import { Redis } from 'ioredis';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import type { Lease, LeaseQueue, NewRequest } from '#gateway/queue/lease-queue.ts';
import { newRequest } from './request.ts';

const FILL_CHUNK = 500;
const FILL_PARALLEL = 4;
const LEASE_MS = 30_000;
/** What all carry: a small JSON body in, a small result out. */
const BODY = JSON.stringify({ prompt: 'x'.repeat(180), max_tokens: 64 });
const RESULT = JSON.stringify({ text: 'y'.repeat(40) });
const TOKEN = 'token';

/** One system under test: work is put in, then leased and completed until it is gone. */
export interface Contender {
  fill(count: number): Promise<void>;
  /** Leases and completes `count` items, a fixed number of them at any time. */
  drain(count: number): Promise<void>;
}

export interface OursOptions {
  readonly app: string;
  /** Leases of one call. */
  readonly perCall: number;
  readonly tenants: number;
  /** Leased and not completed at any time. */
  readonly inFlight: number;
  /**
   * `together`: what is done is completed and the next work leased in one round trip, as BullMQ's best path does; `apart`: units await
   * each call before the next, as the worker does for one slot.
   */
  readonly how: 'together' | 'apart';
}

/** Our queue. Costs are not told: it charges what it has learned. */
export function ours(queue: LeaseQueue, { app, perCall, tenants, inFlight, how }: OursOptions): Contender {
  const body = Buffer.from(BODY);
  let made = 0;
  const request = (): NewRequest => ({
    ...newRequest(app, uuid7(systemClock, systemRandom), body),
    cost: 0,
    tenant: `tenant-${made++ % tenants}`,
    share: { weight: 1, maxInFlight: 1_000, maxQueued: 10_000_000 },
  });
  return {
    fill: async (count) => {
      let left = count;
      const some = async (): Promise<void> => {
        while (left > 0) {
          const n = Math.min(FILL_CHUNK, left);
          left -= n;
          const outcomes = await queue.enqueue(Array.from({ length: n }, request));
          if (outcomes.some((one) => one.kind !== 'queued')) throw new Error('a request was not queued');
        }
      };
      await Promise.all(Array.from({ length: FILL_PARALLEL }, some));
    },
    drain: async (count) => {
      let left = count;
      const run = async (_: unknown, loop: number): Promise<void> => {
        const unit = `unit-${loop}`;
        const next = async (): Promise<readonly Lease[]> => {
          const max = Math.min(perCall, left);
          left -= max;
          return max === 0 ? [] : leaseSome(queue, app, unit, max);
        };
        for (let held = await next(); held.length > 0;) {
          const completed = complete(queue, app, unit, held);
          if (how === 'apart') await completed;
          // Sent in this order on one connection: the slots are free when the lease is asked for.
          [held] = await Promise.all([next(), completed]);
        }
      };
      await Promise.all(Array.from({ length: inFlight / perCall }, run));
    },
  };
}

async function complete(queue: LeaseQueue, app: string, unit: string, leases: readonly Lease[]): Promise<void> {
  const result = { contentType: 'application/json', bytes: RESULT.length, inline: Buffer.from(RESULT) };
  const done = leases.map(({ id, token }) => ({ id, token, result, serviceMicros: 1000 }));
  const outcomes = await queue.complete(app, unit, done);
  if (outcomes.some((outcome) => outcome !== 'committed')) throw new Error(`completions were ${outcomes.join()}`);
}

async function leaseSome(queue: LeaseQueue, app: string, unit: string, max: number): Promise<readonly Lease[]> {
  const digits = randomBytes(8 * max).toString('hex');
  const { leases } = await queue.lease({
    app,
    unit,
    revision: 'rev1',
    currentRevision: 'rev1',
    lanes: ['online', 'batch'],
    max,
    leaseMs: LEASE_MS,
    nonces: Array.from({ length: max }, (_, i) => digits.slice(i * 16, i * 16 + 16)),
    floor: 0,
    lingerMs: LEASE_MS,
    desiredState: 'Ready',
  });
  if (leases.length !== max) throw new Error('the queue ran dry');
  return leases;
}

export interface BullMq {
  /** As a gateway has to use it whose workers lease over HTTP: the next job is fetched when somebody asks for it. */
  readonly apart: Contender;
  /** Its best path, of a worker in the same process: the call that completes a job also fetches the next one. */
  readonly together: Contender;
  close(): Promise<void>;
}

/** BullMQ without its own loop, which would add its timers. It has no batches. `inFlight`: of either contender. */
export async function openBullMq(url: string, inFlight: number): Promise<BullMq> {
  const name = 'cycles';
  const connections = [0, 1].map(() => new Redis(url, { maxRetriesPerRequest: null }));
  const [forQueue, forWorker] = connections as [Redis, Redis];
  const queue = new Queue(name, { connection: forQueue });
  const worker = new Worker(name, null, { connection: forWorker, autorun: false, lockDuration: LEASE_MS });
  await Promise.all([queue.waitUntilReady(), worker.waitUntilReady()]);
  const data = JSON.parse(BODY) as unknown;
  const result = JSON.parse(RESULT) as unknown;
  const fill = async (count: number): Promise<void> => {
    for (let done = 0; done < count; done += FILL_CHUNK)
      await queue.addBulk(Array.from({ length: Math.min(FILL_CHUNK, count - done) }, () => ({ name: 'job', data })));
  };
  const next = async (): Promise<Job> => {
    const job = (await worker.getNextJob(TOKEN, { block: false })) as Job | undefined;
    if (!job) throw new Error('BullMQ ran dry');
    return job;
  };
  const loops = (run: () => Promise<void>): Promise<unknown> => Promise.all(Array.from({ length: inFlight }, run));
  return {
    apart: {
      fill,
      drain: async (count) => {
        let left = count;
        await loops(async () => {
          while (left-- > 0) await (await next()).moveToCompleted(result, TOKEN, false);
        });
      },
    },
    together: {
      fill,
      drain: async (count) => {
        let left = count - inFlight;
        await loops(async () => {
          for (let job: Job | undefined = await next(); job;) {
            const fetchNext = left-- > 0;
            // What its own worker makes of the answer.
            const answer = (await job.moveToCompleted(result, TOKEN, fetchNext)) as [JobJson?, string?] | undefined;
            job = fetchNext && answer?.[0] ? Job.fromJSON(worker, answer[0], answer[1]) : undefined;
          }
        });
      },
    },
    close: async () => {
      await worker.close();
      await queue.close();
      for (const connection of connections) connection.disconnect();
    },
  };
}
