// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util';
import { DRIVERS } from './backend.ts';
import type { Driver } from './backend.ts';

export interface ChaosOptions {
  readonly schedules: number;
  readonly seed: number;
  readonly drivers: readonly Driver[];
  /** Schedules under way at once in one process. */
  readonly parallel: number;
  /** Name of a planted bug: the run must find it. */
  readonly mutation?: string;
  /** Ends at the first violation. */
  readonly firstOnly: boolean;
}

/** @throws Error naming the flag */
export function parseOptions(argv: readonly string[], schedules: number, parallel: number): ChaosOptions {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      schedules: { type: 'string' },
      seed: { type: 'string' },
      driver: { type: 'string' },
      parallel: { type: 'string' },
      mutation: { type: 'string' },
      'first-only': { type: 'boolean' },
    },
  });
  const driver = values.driver ?? 'both';
  if (driver !== 'both' && !isDriver(driver))
    throw new Error(`--driver ${driver}: is one of ${DRIVERS.join(', ')}, both`);
  return {
    schedules: whole('--schedules', values.schedules, schedules),
    seed: whole('--seed', values.seed, 1),
    drivers: driver === 'both' ? DRIVERS : [driver],
    parallel: whole('--parallel', values.parallel, parallel),
    ...(values.mutation === undefined ? {} : { mutation: values.mutation }),
    firstOnly: values['first-only'] ?? false,
  };
}

function isDriver(name: string): name is Driver {
  return (DRIVERS as readonly string[]).includes(name);
}

/** make passes an empty one for "not said". */
function whole(flag: string, given: string | undefined, byDefault: number): number {
  if (given === undefined || given === '') return byDefault;
  const number = Number(given);
  if (!Number.isSafeInteger(number) || number < 1) throw new Error(`${flag} ${given}: must be a whole number above 0`);
  return number;
}
