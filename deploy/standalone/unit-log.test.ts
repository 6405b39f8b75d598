// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { finished } from 'node:stream/promises';
import { expect, onTestFinished, test } from 'vitest';
import { keepLog, lastWords } from './unit-log.ts';

const line = (entry: object): string => `${JSON.stringify(entry)}\n`;
const info = line({ level: 'info', msg: 'unit leaves', code: 1 });

test.each<[what: string, log: string, says: string]>([
  ['nothing', '', ''],
  [
    'the runtime’s last error, without its stack',
    `${line({ level: 'error', msg: 'a', err: { message: 'no module x', stack: 's' } })}${info}`,
    'no module x',
  ],
  ['an error that is a text', line({ level: 'error', msg: 'unit is not ready', err: 'too slow' }), 'too slow'],
  ['an error without a cause', line({ level: 'error', msg: 'unit is not ready' }), 'unit is not ready'],
  ['what was printed last, when the runtime has said nothing', `one\ntwo\nthree\nfour\n${info}`, 'two / three / four'],
  ['what looks like JSON and is none', '{"level":"error"\nSegmentation fault\n', 'Segmentation fault'],
  ['the end of a long story', `${'x'.repeat(1000)}end`, `…${'x'.repeat(397)}end`],
  ['the beginning of a long error', line({ level: 'error', err: `it ${'x'.repeat(1000)}` }), `it ${'x'.repeat(397)}…`],
])('the last words are %s', (_what, log, says) => {
  expect(lastWords(log)).toBe(says);
});

test('a log is kept in its file up to a limit, while its end stays at hand', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'penstock-log-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const stream = new PassThrough();
  const file = join(dir, 'log');
  const log = keepLog(stream, file, () => {});
  const mebibyte = `${'x'.repeat(1024 * 1024 - 1)}\n`;
  for (let i = 0; i < 12; i++) stream.write(mebibyte);
  stream.end('the end\n');
  await finished(stream);
  await log.kept;
  expect(readFileSync(file).length).toBe(8 * 1024 * 1024);
  expect(log.lastWords()).toMatch(/the end$/);
});

test('what handlers print is told line by line, however it arrives', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'penstock-log-'));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const stream = new PassThrough();
  const told: string[] = [];
  const log = keepLog(stream, join(dir, 'log'), (printed) => void told.push(printed));
  stream.write(`loa`);
  stream.write(`ding\n${info}\n50 %\n`);
  stream.end(`${'x'.repeat(5000)}\nrest`);
  await log.kept;
  expect(told).toEqual(['loading', '50 %', 'x'.repeat(4096)]);
});
