// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { PROGRAMS } from './slice.ts';
import type { Run, Slice } from './slice.ts';

/** Driver API codes that tests name. */
export const OK = 0;
export const INVALID_VALUE = 1;
export const OUT_OF_MEMORY = 2;
export const NOT_INITIALIZED = 3;
export const NO_DEVICE = 100;

/** One line of programs/driver-steps.c: the step, its status, and the numbers it printed. */
export interface Step {
  readonly step: string;
  readonly status: number;
  readonly values: Readonly<Record<string, number>>;
}

export function readSteps(run: Run): Step[] {
  if (run.status !== 0)
    throw new Error(`driver-steps ended with ${run.status ?? run.signal}: ${run.stderr}\n${run.stdout}`);
  return run.stdout
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [head = '', status = ''] = line.split(' = ');
      const [step = '', ...words] = head.split(' ');
      const values: Record<string, number> = {};
      for (let i = 0; i + 1 < words.length; i += 2) values[words[i] ?? ''] = Number(words[i + 1]);
      return { step, status: Number(status), values };
    });
}

/** Runs steps in a slice by dlopen and dlsym, one context on device 0 first; the answers without those two. */
export function steps(slice: Slice, list: readonly string[], env: Readonly<Record<string, string>> = {}): Step[] {
  const args = ['dlopen:libcuda.so.1', 'init', 'context:c:0', ...list];
  return readSteps(slice.run(join(PROGRAMS, 'driver-steps'), args, env)).slice(2);
}

/** Statuses of all steps but `info`, and for `info` the bytes in use: short enough to read as a table. */
export function told(list: readonly Step[]): (number | string)[] {
  return list.map(({ step, status, values }) => (step === 'info' && status === OK ? `used ${values.used}` : status));
}
