// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { Redis } from 'ioredis';
import { startRedis } from '#test/servers/redis.ts';
import type { Driver } from './backend.ts';
import { makeFleet } from './fleet.ts';
import type { ChaosOptions } from './options.ts';
import { printFailure } from './report.ts';
import type { Tally } from './report.ts';
import { runSchedule } from './schedule.ts';
import type { Ground } from './world.ts';

/** Schedules of one driver, several at once in this process. */
export async function runSchedules(driver: Driver, options: ChaosOptions): Promise<Tally> {
  const server = driver === 'redis' ? await startRedis() : undefined;
  const client = server === undefined ? undefined : new Redis(server.url);
  const redis = server === undefined || client === undefined ? {} : { redis: { port: server.port, client } };
  const ground: Ground = { fleet: await makeFleet(randomBytes(32)), ...redis };
  let schedules = 0;
  let violations = 0;
  let next = options.seed;
  const goOn = (): boolean => next < options.seed + options.schedules && !(options.firstOnly && violations > 0);

  const lane = async (): Promise<void> => {
    while (goOn()) {
      const seed = next++;
      const result = await runSchedule(driver, seed, ground);
      schedules += 1;
      if (result.violations.length === 0) continue;
      violations += 1;
      const again = `make chaos DRIVER=${driver} SEED=${seed} SCHEDULES=1`;
      const { steps } = result.plan;
      printFailure(`${driver} seed ${seed}`, { again, violations: result.violations, steps, seen: result.seen });
    }
  };
  try {
    await Promise.all(Array.from({ length: options.parallel }, lane));
  } finally {
    client?.disconnect();
    await server?.stop();
  }
  return { schedules, violations };
}
