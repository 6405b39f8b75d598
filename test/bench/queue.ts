// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { systemClock } from '#base/clock.ts';
import { silentLogger } from '#base/logger.ts';
import { systemRandom } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';
import { openRedisQueue } from '#gateway/queue/open.ts';
import { cpuSeconds } from './cpu-time.ts';
import { openBullMq, ours } from './queue-contenders.ts';
import { race, ratio, shown } from './race.ts';
import type { Report } from './report.ts';
import { newRequest } from './request.ts';
import { withRedis } from './with-redis.ts';

const CYCLES_PER_ROUND = 4_000;
const RACE = { cycles: CYCLES_PER_ROUND, limitMs: 25_000 } as const;
/** Leased and not completed at any time, the same for all; lease and completion are calls of their own. */
const APART = { inFlight: 32, how: 'apart' } as const;
const MANY_TENANTS = 10_000;
const FEW_TENANTS = 10;
/** Queued in both apps of the comparison by tenants. */
const QUEUED_BY_TENANTS = 30_000;
const MANY_QUEUED = 1_000_000;
const FEW_QUEUED = 1_000;
/** Put in and taken out at a time where the depth is what is measured: it stays within half of this around its number. */
const DEPTH_STEP = 400;
const MEASURED_REQUESTS = 100_000;
const BODY_BYTES = 1_024;

/** What the fair lease queue promises of speed and size; the peer runs beside it, on the same Redis with the same log. */
export async function benchQueue(report: Report): Promise<void> {
  await withQueue((queue, url, pid) => versusBullMq(report, queue, url, pid));
  await withQueue((queue) => byTenants(report, queue));
  await withQueue((queue) => byDepth(report, queue));
  await withQueue((queue, url) => memory(report, queue, url));
}

async function withQueue(measure: (queue: LeaseQueue, url: string, pid: number) => Promise<void>): Promise<void> {
  await withRedis(async (url, _folder, pid) => {
    const queue = await openRedisQueue({ url, clock: systemClock, logger: silentLogger });
    try {
      await measure(queue, url, pid);
    } finally {
      await queue.close();
    }
  });
}

async function versusBullMq(report: Report, queue: LeaseQueue, url: string, pid: number): Promise<void> {
  const bullmq = await openBullMq(url, APART.inFlight);
  const cpu = new CpuTimes(pid);
  try {
    const rates = await race(
      {
        one: ours(queue, { app: 'one', perCall: 1, tenants: FEW_TENANTS, ...APART }),
        apart: bullmq.apart,
        sixteen: ours(queue, { app: 'sixteen', perCall: 16, tenants: FEW_TENANTS, ...APART }),
        together: bullmq.together,
      },
      { ...RACE, watch: cpu },
    );
    report.note(
      '32 in flight on both sides, lease and completion in calls of their own, 10 tenants; BullMQ has no tenants:',
    );
    report.note(
      `ours ${shown(rates, 'one')}, 16 in a call ${shown(rates, 'sixteen')}; BullMQ ${shown(rates, 'apart')}`,
    );
    report.note('calls of one turn share a script run in ours, one at a time as well; in BullMQ each call is its own');
    report.note(
      `BullMQ's worker in one process, which completes and fetches in one call (fetchNext): ${shown(rates, 'together')}`,
    );
    for (const [name, side] of [
      ['one-at-a-time', 'one'],
      ['16-per-call', 'sixteen'],
    ] as const) {
      const against = (other: 'apart' | 'together'): string => ratio(rates, side, other).toFixed(2);
      report.note(
        `${name}: ${against('apart')} of BullMQ's separate calls (judged), ${against('together')} of its fetchNext`,
      );
    }
    report.note(
      `CPU time of a cycle in Redis + in this process: ours ${cpu.shown('one')}, 16 in a call ${cpu.shown('sixteen')}; BullMQ ${cpu.shown('apart')}, in one call ${cpu.shown('together')}`,
    );
    report.ratio('queue-cycles-vs-bullmq-one-at-a-time', ratio(rates, 'one', 'apart'), '>=', 1.5);
    report.ratio('queue-cycles-vs-bullmq-16-per-call', ratio(rates, 'sixteen', 'apart'), '>=', 3);
  } finally {
    await bullmq.close();
  }
}

async function byTenants(report: Report, queue: LeaseQueue): Promise<void> {
  for (const [name, perCall] of [
    ['one-at-a-time', 1],
    ['16-per-call', 16],
  ] as const) {
    const many = ours(queue, { app: `many-${perCall}`, perCall, tenants: MANY_TENANTS, ...APART });
    const few = ours(queue, { app: `few-${perCall}`, perCall, tenants: FEW_TENANTS, ...APART });
    for (const side of [many, few]) await side.fill(QUEUED_BY_TENANTS);
    const rates = await race({ many, few }, RACE);
    report.note(
      `${name}: ${MANY_TENANTS} tenants ${shown(rates, 'many')}, ${FEW_TENANTS} tenants ${shown(rates, 'few')}`,
    );
    report.ratio(`queue-10000-tenants-vs-10-${name}`, ratio(rates, 'many', 'few'), '>=', 0.8);
  }
}

async function byDepth(report: Report, queue: LeaseQueue): Promise<void> {
  const deep = ours(queue, { app: 'deep', perCall: 1, tenants: FEW_TENANTS, ...APART });
  const shallow = ours(queue, { app: 'shallow', perCall: 1, tenants: FEW_TENANTS, ...APART });
  await deep.fill(MANY_QUEUED - DEPTH_STEP / 2);
  await shallow.fill(FEW_QUEUED - DEPTH_STEP / 2);
  const rates = await race({ deep, shallow }, { ...RACE, step: DEPTH_STEP });
  report.note(
    `${MANY_QUEUED} queued ${shown(rates, 'deep')}, ${FEW_QUEUED} queued ${shown(rates, 'shallow')}, each ± ${DEPTH_STEP / 2}`,
  );
  report.ratio('queue-1000000-queued-vs-1000', ratio(rates, 'deep', 'shallow'), '>=', 0.7);
}

/** With what the gateway stores beside a body: the client's key as a digest in its scope, and a trace. */
async function memory(report: Report, queue: LeaseQueue, url: string): Promise<void> {
  const redis = new Redis(url);
  const used = async (): Promise<number> => Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1]);
  const hex = (bytes: number): string => randomBytes(bytes).toString('hex');
  const revision = hex(8);
  const fill = async (count: number): Promise<void> => {
    for (let made = 0; made < count; made += 500) {
      const some = Array.from({ length: 500 }, () => ({
        ...newRequest('memory', uuid7(systemClock, systemRandom), randomBytes(BODY_BYTES)),
        cost: 0,
        tenant: 'tenant-a',
        revision,
        dedupeKey: `tenant-a:${revision}:k:${hex(32)}`,
        fingerprint: hex(32),
        traceparent: `00-${hex(16)}-${hex(8)}-01`,
      }));
      await queue.enqueue(some);
    }
  };
  try {
    // Scripts, connections and the tables' first sizes are not the requests'.
    await fill(500);
    const before = await used();
    await fill(MEASURED_REQUESTS);
    const each = ((await settled(used)) - before) / MEASURED_REQUESTS - BODY_BYTES;
    report.note(`Redis memory per queued request above its body of ${BODY_BYTES} bytes: ${each.toFixed(0)} bytes`);
    report.ratio('queue-bytes-per-request', each, '<=', 700);
  } finally {
    redis.disconnect();
  }
}

/** Buffers of the log and tables in the middle of growing go away by themselves. */
async function settled(used: () => Promise<number>): Promise<number> {
  let last = await used();
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const now = await used();
    if (now >= last * 0.999) return Math.min(now, last);
    last = now;
  }
}

/** What a cycle costs Redis and this process, whatever else keeps the machine busy. */
class CpuTimes {
  readonly #pid: number;
  readonly #used = new Map<string, { redis: number; here: number; cycles: number }>();
  #began = { redis: 0, here: 0 };

  constructor(pid: number) {
    this.#pid = pid;
  }

  begin(): void {
    this.#began = { redis: cpuSeconds(this.#pid), here: cpuSeconds(process.pid) };
  }

  end(name: string, cycles: number): void {
    const used = this.#used.get(name) ?? { redis: 0, here: 0, cycles: 0 };
    used.redis += cpuSeconds(this.#pid) - this.#began.redis;
    used.here += cpuSeconds(process.pid) - this.#began.here;
    used.cycles += cycles;
    this.#used.set(name, used);
  }

  shown(name: string): string {
    const { redis, here, cycles } = this.#used.get(name) ?? { redis: 0, here: 0, cycles: 1 };
    const micros = (seconds: number): number => Math.round((seconds * 1e6) / cycles);
    return `${micros(redis)} + ${micros(here)} µs`;
  }
}
