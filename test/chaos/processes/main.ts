// SPDX-License-Identifier: Apache-2.0
/** `make chaos-processes`: gateways, units and Redis as processes that are killed, stopped and cut off. The last line is the tally. */
import { randomBytes } from 'node:crypto';
import { startMinio } from '#test/servers/minio.ts';
import { makeFleet } from '../fleet.ts';
import { parseOptions } from '../options.ts';
import { close, printFailure } from '../report.ts';
import { runProcessSchedule } from './schedule.ts';
import type { ProcessGround } from './world.ts';

const DEFAULT_SCHEDULES = 15;
/** They wait more than they work. */
const PARALLEL = 2;

const options = parseOptions(process.argv.slice(2), DEFAULT_SCHEDULES, PARALLEL);
const minio = await startMinio();
const master = randomBytes(32);
const ground: ProcessGround = { fleet: await makeFleet(master), master: master.toString('hex'), s3: minio };
let schedules = 0;
let violations = 0;
let next = options.seed;

// Children do not keep this process alive, and at times it waits for nothing but their end.
const alive = setInterval(() => {}, 60_000);

const lane = async (): Promise<void> => {
  while (next < options.seed + options.schedules) {
    const seed = next++;
    const result = await runProcessSchedule(seed, ground);
    schedules += 1;
    if (result.violations.length === 0) continue;
    violations += 1;
    const again = `make chaos-processes SEED=${seed} SCHEDULES=1`;
    const { steps } = result.plan;
    printFailure(`processes seed ${seed}`, { ...result, again, steps });
  }
};
try {
  await Promise.all(Array.from({ length: options.parallel }, lane));
} finally {
  await minio.stop();
  clearInterval(alive);
}
process.exit(close('chaos-processes', { schedules, violations }));
