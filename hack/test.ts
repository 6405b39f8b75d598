// SPDX-License-Identifier: Apache-2.0
// test SUITE...: runs the named Vitest projects one after another, each to its end whatever the others say, and closes
// with the sum over all of them. One after another, because integration tests measure time on the same two cores.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { forgetTally, keepTally, reportFile, summarise, tallyRun } from './summary.ts';

const root = fileURLToPath(new URL('..', import.meta.url));

function runSuite(suite: string): boolean {
  forgetTally(suite);
  console.log(`\n== ${suite}`);
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${reportFile(suite)}`];
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--project', suite, ...reporters];
  const run = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  keepTally(suite, tallyRun(readReport(suite), run.status));
  return run.signal === null;
}

function readReport(suite: string): string | undefined {
  try {
    return readFileSync(reportFile(suite), 'utf8');
  } catch {
    return undefined;
  }
}

const suites = process.argv.slice(2);
if (suites.length === 0) {
  console.error('usage: test SUITE... (unit, conformance, integration, native, e2e)');
  process.exitCode = 2;
} else {
  // A run that a signal ended was stopped by a person: the rest does not start, and counts as not run.
  suites.forEach(forgetTally);
  suites.every(runSuite);
  process.exitCode = summarise(suites);
}
