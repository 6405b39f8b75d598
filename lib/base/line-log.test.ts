// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { lineLogger } from './line-log.ts';

test('a line has the head of every log line, its fields, and what is undefined left out', () => {
  const lines: string[] = [];
  const { info } = lineLogger('access', { now: () => Date.UTC(2026, 0, 2, 3, 4, 5, 678) }, (line) => lines.push(line));
  info({ port: 'client', status: 202, tenant: 'a"b\n', unit: undefined }, 'answered');
  expect(lines).toEqual([
    '{"level":"info","time":"2026-01-02T03:04:05.678Z","component":"access","port":"client","status":202,"tenant":"a\\"b\\n","msg":"answered"}',
  ]);
});

test('each line has the time of its own answer', () => {
  let now = 0;
  const lines: string[] = [];
  const { info } = lineLogger('access', { now: () => now }, (line) => lines.push(line));
  for (const at of [0, 0, 1500]) {
    now = at;
    info({}, 'answered');
  }
  expect(lines.map((line) => (JSON.parse(line) as { time: string }).time)).toEqual([
    '1970-01-01T00:00:00.000Z',
    '1970-01-01T00:00:00.000Z',
    '1970-01-01T00:00:01.500Z',
  ]);
});
