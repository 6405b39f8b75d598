// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { addUp, closingLine, tallyRun } from './summary.ts';

const report = (success: boolean, ...files: { status: string; tests: string[] }[]): string =>
  JSON.stringify({
    success,
    testResults: files.map(({ status, tests }, index) => ({
      name: `file-${index}.test.ts`,
      status,
      assertionResults: tests.map((test) => ({ status: test })),
    })),
  });

const cases: [name: string, report: string | undefined, exitCode: number | null, expected: string][] = [
  ['all green', report(true, { status: 'passed', tests: ['passed', 'passed'] }), 0, '2 passed, 0 failed'],
  [
    'two files, one failed test',
    report(false, { status: 'passed', tests: ['passed'] }, { status: 'failed', tests: ['failed', 'passed'] }),
    1,
    '2 passed, 1 failed',
  ],
  [
    'a file that would not load',
    report(false, { status: 'passed', tests: ['passed'] }, { status: 'failed', tests: [] }),
    1,
    '1 passed, 1 failed',
  ],
  [
    'a beforeAll that threw',
    report(false, { status: 'failed', tests: ['skipped', 'skipped'] }),
    1,
    '0 passed, 1 failed, 2 skipped',
  ],
  [
    'green tests, but an unhandled rejection',
    report(true, { status: 'passed', tests: ['passed'] }),
    1,
    '1 passed, 1 failed',
  ],
  [
    'green tests, report not a success',
    report(false, { status: 'passed', tests: ['passed'] }),
    0,
    '1 passed, 1 failed',
  ],
  ['no test at all', report(true), 0, '0 passed, 1 failed'],
  ['only skipped tests', report(true, { status: 'passed', tests: ['pending'] }), 0, '0 passed, 1 failed, 1 skipped'],
  ['no report', undefined, 1, '0 passed, 1 failed'],
  ['half a report', '{"success": true, "testRes', 0, '0 passed, 1 failed'],
  ['a report that is no object', 'null', 0, '0 passed, 1 failed'],
  [
    'ended by a signal after its report',
    report(true, { status: 'passed', tests: ['passed'] }),
    null,
    '1 passed, 1 failed',
  ],
];

test.each(cases)('a run with %s is counted right', (_name, text, exitCode, expected) => {
  expect(closingLine(tallyRun(text, exitCode))).toBe(expected);
});

test('the sum counts a suite that left nothing as one failure', () => {
  const green = tallyRun(report(true, { status: 'passed', tests: ['passed', 'passed'] }), 0);
  expect(closingLine(addUp([green, undefined, green]))).toBe('4 passed, 1 failed');
});

test('a failed test is named with its file and the first line of what went wrong', () => {
  const text = JSON.stringify({
    success: false,
    testResults: [
      {
        name: 'a.test.ts',
        status: 'failed',
        assertionResults: [
          { status: 'passed', fullName: 'one' },
          { status: 'failed', fullName: 'two', failureMessages: ['Error: no such\nthing\n    at here (a.ts:1:1)'] },
        ],
      },
    ],
  });
  expect(tallyRun(text, 1).failures).toEqual(['a.test.ts > two: Error: no such | thing']);
});

test('a test that passed only when it was run once more is named, and no failure', () => {
  const assertionResults = [
    { status: 'passed', fullName: 'one', failureMessages: [] },
    { status: 'passed', fullName: 'two', failureMessages: ['Error: too late\n    at here (a.ts:1:1)'] },
  ];
  const text = JSON.stringify({
    success: true,
    testResults: [{ name: 'a.test.ts', status: 'passed', assertionResults }],
  });
  expect(tallyRun(text, 0)).toMatchObject({
    passed: 2,
    failed: 0,
    failures: [],
    flaky: ['a.test.ts > two: Error: too late'],
  });
});
