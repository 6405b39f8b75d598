// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { keepTally } from '#hack/summary.ts';
import type { Seen } from './history.ts';

export interface Tally {
  readonly schedules: number;
  readonly violations: number;
}

export const LAST_LINE = /^chaos: (\d+) schedules, (\d+) violations$/;

function lastLine({ schedules, violations }: Tally): string {
  return `chaos: ${schedules} schedules, ${violations} violations`;
}

/** The last line, and the tally that `.ci/run` adds up: a schedule counts as a test. Answers the exit code. */
export function close(suite: 'chaos' | 'chaos-processes', tally: Tally): 0 | 1 {
  const { schedules, violations } = tally;
  const problems = schedules === 0 ? ['no schedule came to its end'] : [];
  const failed = Math.max(violations, problems.length);
  keepTally(suite, { passed: Math.max(0, schedules - violations), failed, skipped: 0, problems });
  console.log(lastLine(tally));
  return failed === 0 ? 0 : 1;
}

export interface Failure {
  /** How the schedule is run again: arguments of make. */
  readonly again: string;
  readonly violations: readonly string[];
  readonly steps: readonly unknown[];
  readonly seen: readonly Seen[];
  /** What processes printed. */
  readonly logs?: readonly string[];
}

/** Violations of one schedule that are printed; all of them are in the file. */
const PRINTED = 12;
const DIR = 'dist/chaos';

/** What went wrong, the schedule, and how to run it again; the whole history goes to a file. */
export function printFailure(name: string, { again, violations, steps, seen, logs = [] }: Failure): void {
  const lines = [`${name}: ${violations.length} violations; again: ${again}`];
  lines.push(...violations.slice(0, PRINTED).map((violation) => `  ${violation}`));
  lines.push(...steps.map((step, i) => `    ${i} ${JSON.stringify(step)}`));
  mkdirSync(DIR, { recursive: true });
  const file = join(DIR, `${name.replaceAll(/[^a-z0-9]+/gi, '-')}.log`);
  writeFileSync(file, [...lines, ...violations, ...seen.map((one) => JSON.stringify(one)), ...logs].join('\n'));
  console.log([...lines, `  what was seen: ${file}`].join('\n'));
}
