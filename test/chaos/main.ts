// SPDX-License-Identifier: Apache-2.0
/**
 * `make chaos`: schedules in one process for each driver. With one driver they run here; with both, each in a process of its own, every
 * second seed each. The last line says `chaos: N schedules, N violations`; the exit code is 0 only without violations.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Driver } from './backend.ts';
import { plant } from './mutations/plant.ts';
import { parseOptions } from './options.ts';
import type { ChaosOptions } from './options.ts';
import { LAST_LINE, close } from './report.ts';
import type { Tally } from './report.ts';

const DEFAULT_SCHEDULES = 2_000;
/** Enough to fill the waits of one schedule with the work of others. */
const PARALLEL = 6;

const options = parseOptions(process.argv.slice(2), DEFAULT_SCHEDULES, PARALLEL);
// Before the product is loaded, which is why the rest is imported only then.
if (options.mutation !== undefined) plant(options.mutation);
const [first, ...others] = options.drivers;
const tally = others.length === 0 && first !== undefined ? await runHere(first, options) : await runApart(options);
process.exit(close('chaos', tally));

async function runHere(driver: Driver, chosen: ChaosOptions): Promise<Tally> {
  const { runSchedules } = await import('./run.ts');
  return await runSchedules(driver, chosen);
}

/** The schedules shared out evenly; a seed given to two drivers would be two different schedules anyway. */
async function runApart({ drivers, schedules, seed, parallel, firstOnly }: ChaosOptions): Promise<Tally> {
  const part = (place: number): number => Math.floor((schedules + drivers.length - 1 - place) / drivers.length);
  const tallies = await Promise.all(
    drivers.map((driver, place) => {
      const flags = ['--driver', driver, '--schedules', String(part(place)), '--parallel', String(parallel)];
      return childTally([...flags, '--seed', String(seed), ...(firstOnly ? ['--first-only'] : [])]);
    }),
  );
  return {
    schedules: tallies.reduce((sum, one) => sum + one.schedules, 0),
    violations: tallies.reduce((sum, one) => sum + one.violations, 0),
  };
}

async function childTally(flags: readonly string[]): Promise<Tally> {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), ...flags], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = once(child, 'exit');
  let tally: Tally | undefined;
  for await (const line of createInterface(child.stdout)) {
    const found = LAST_LINE.exec(line);
    if (found === null) console.log(line);
    else tally = { schedules: Number(found[1]), violations: Number(found[2]) };
  }
  await ended;
  // One that did not come to its end has proved nothing.
  return tally ?? { schedules: 0, violations: 1 };
}
