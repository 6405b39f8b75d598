// SPDX-License-Identifier: Apache-2.0
// summary [SUITE...]: adds up the tallies that hack/test.ts left in dist/test-results (of all suites when none is named)
// and ends with the line "N passed, N failed". Exit code 1 when anything failed or a suite left no tally.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export interface Tally {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Why `failed` is more than the failed tests: a file that would not load, a run that died. */
  readonly problems: readonly string[];
  /** The failed tests: file, name and the first line of what went wrong. */
  readonly failures?: readonly string[];
  /** The tests that failed and then passed when run once more: reported at the end of each run, never silent. */
  readonly flaky?: readonly string[];
}

/** Failed tests that are named at the end; more say nothing new. */
const NAMED_FAILURES = 20;
/** Of each the start of its message: CI keeps only a part of what a run prints. */
const FAILURE_CHARS = 400;

/** What we read of Vitest's JSON report. */
interface Report {
  readonly success?: boolean;
  readonly testResults?: readonly {
    readonly name?: string;
    readonly status?: string;
    readonly assertionResults?: readonly {
      readonly status?: string;
      readonly fullName?: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

const folder = fileURLToPath(new URL('../dist/test-results', import.meta.url));

export const reportFile = (suite: string): string => join(folder, `${suite}.json`);
const tallyFile = (suite: string): string => join(folder, `${suite}.tally.json`);

/**
 * Counts one run. `report` is the text of Vitest's JSON report, undefined when it wrote none; `exitCode` is null when a
 * signal ended it. A run that is not a clean success counts at least one failure, whatever its report says.
 */
export function tallyRun(report: string | undefined, exitCode: number | null): Tally {
  const parsed = parseReport(report);
  if (parsed === undefined)
    return { passed: 0, failed: 1, skipped: 0, problems: [`left no readable report (exit code ${exitCode})`] };
  const files = parsed.testResults ?? [];
  const count = (...statuses: string[]): number =>
    files.flatMap((file) => file.assertionResults ?? []).filter((test) => statuses.includes(test.status ?? '')).length;
  const problems = files
    .filter((file) => file.status === 'failed' && !file.assertionResults?.some((test) => test.status === 'failed'))
    .map((file) => `${file.name ?? 'a file'} failed outside its tests`);
  const [passed, failedTests] = [count('passed'), count('failed')];
  if (failedTests + problems.length === 0) {
    if (passed === 0) problems.push('ran no test');
    else if (exitCode !== 0 || parsed.success !== true)
      problems.push(`all tests passed, but the run failed (exit code ${exitCode})`);
  }
  return {
    passed,
    failed: failedTests + problems.length,
    skipped: count('pending', 'skipped', 'todo', 'disabled'),
    problems,
    failures: messagesOf(files, 'failed'),
    flaky: messagesOf(files, 'passed'),
  };
}

/** What the tests of one status have to say; a test that passed says something only when its first run failed. */
function messagesOf(files: NonNullable<Report['testResults']>, status: 'failed' | 'passed'): readonly string[] {
  return files
    .flatMap((file) =>
      (file.assertionResults ?? [])
        .filter((test) => test.status === status && (status === 'failed' || (test.failureMessages?.length ?? 0) > 0))
        .map((test) => {
          const [why = ''] = (test.failureMessages?.[0] ?? '').split('\n    at ');
          return `${file.name ?? 'a file'} > ${test.fullName ?? 'a test'}: ${why.replaceAll('\n', ' | ')}`;
        }),
    )
    .map((line) => line.slice(0, FAILURE_CHARS))
    .slice(0, NAMED_FAILURES);
}

function parseReport(report: string | undefined): Report | undefined {
  try {
    const parsed: unknown = JSON.parse(report ?? '');
    return typeof parsed === 'object' && parsed !== null ? parsed : undefined;
  } catch {
    return undefined;
  }
}

/** `undefined` stands for a suite that should have run and left nothing; it counts as one failure. */
export function addUp(tallies: readonly (Tally | undefined)[]): Tally {
  const missing: Tally = { passed: 0, failed: 1, skipped: 0, problems: ['did not run'] };
  return tallies
    .map((tally) => tally ?? missing)
    .reduce(
      (sum, tally) => ({
        passed: sum.passed + tally.passed,
        failed: sum.failed + tally.failed,
        skipped: sum.skipped + tally.skipped,
        problems: [...sum.problems, ...tally.problems],
        failures: [...(sum.failures ?? []), ...(tally.failures ?? [])],
        flaky: [...(sum.flaky ?? []), ...(tally.flaky ?? [])],
      }),
      { passed: 0, failed: 0, skipped: 0, problems: [], failures: [], flaky: [] } as Tally,
    );
}

/** The closing line; skipped tests are named only when there are any. */
export function closingLine(tally: Tally): string {
  return `${tally.passed} passed, ${tally.failed} failed${tally.skipped > 0 ? `, ${tally.skipped} skipped` : ''}`;
}

export function forgetTally(suite: string): void {
  rmSync(tallyFile(suite), { force: true });
  rmSync(reportFile(suite), { force: true });
}

export function keepTally(suite: string, tally: Tally): void {
  mkdirSync(dirname(tallyFile(suite)), { recursive: true });
  writeFileSync(tallyFile(suite), JSON.stringify(tally));
}

function readTally(suite: string): Tally | undefined {
  try {
    return JSON.parse(readFileSync(tallyFile(suite), 'utf8')) as Tally;
  } catch {
    return undefined;
  }
}

/** Prints one line per suite and the closing line; returns the exit code. */
export function summarise(suites: readonly string[]): number {
  const tallies = suites.map(readTally);
  console.log('');
  for (const [index, suite] of suites.entries()) {
    const tally = addUp([tallies[index]]);
    console.log(`${suite}: ${[closingLine(tally), ...tally.problems].join('; ')}`);
  }
  const sum = addUp(tallies);
  // On both streams, at their very end: whoever keeps only a part of either sees what failed.
  for (const failure of [...(sum.failures ?? []), ...sum.problems]) {
    console.log(`FAILED ${failure}`);
    console.error(`FAILED ${failure}`);
  }
  for (const test of sum.flaky ?? []) console.log(`FLAKY (passed when run once more) ${test}`);
  console.log(closingLine(sum));
  return sum.failed === 0 && suites.length > 0 ? 0 : 1;
}

if (import.meta.main) {
  const named = process.argv.slice(2);
  process.exitCode = summarise(named.length > 0 ? named : ['unit', 'conformance', 'integration', 'e2e']);
}
