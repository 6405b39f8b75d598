// SPDX-License-Identifier: Apache-2.0
/**
 * `make chaos-mutations`: plants each bug in a process of its own and runs schedules until one finds it. Fails when one is not found
 * within the given number of schedules.
 */
import { parseOptions } from '../options.ts';
import { hunt } from './hunt.ts';
import { MUTATIONS } from './mutations.ts';

const SCHEDULES = 2_000;
const PARALLEL = 6;

const options = parseOptions(process.argv.slice(2), SCHEDULES, PARALLEL);
const chosen = MUTATIONS.filter(
  ({ name, driver }) => options.drivers.includes(driver) && (options.mutation ?? name) === name,
);
let missed = 0;
for (const mutation of chosen) {
  const { found, schedules, said } = await hunt(mutation, options);
  missed += found ? 0 : 1;
  console.log(
    `${mutation.name}: ${found ? `found after ${schedules} schedules: ${said}` : `NOT FOUND in ${schedules} schedules ${said}`}`,
  );
}
console.log(`chaos: ${chosen.length} mutations, ${missed} not found`);
process.exit(missed === 0 && chosen.length > 0 ? 0 : 1);
