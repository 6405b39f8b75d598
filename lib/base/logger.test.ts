// SPDX-License-Identifier: Apache-2.0
import { Writable } from 'node:stream';
import { expect, test } from 'vitest';
import { createLogger } from './logger.ts';

function capture(): { lines: () => Record<string, unknown>[]; stream: Writable } {
  let text = '';
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      text += chunk.toString('utf8');
      done();
    },
  });
  return {
    stream,
    lines: () =>
      text
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as Record<string, unknown>),
  };
}

test('lines are JSON with level, time, component and the fields of the logger and its parents', () => {
  const { lines, stream } = capture();
  createLogger('gateway', 'info', stream).child({ app: 'default.ocr' }).info({ depth: 3 }, 'queue deepens');
  expect(lines()).toEqual([
    {
      level: 'info',
      time: expect.any(String),
      component: 'gateway',
      app: 'default.ocr',
      depth: 3,
      msg: 'queue deepens',
    },
  ]);
});

test('what is below the level is not written', () => {
  const { lines, stream } = capture();
  const logger = createLogger('gateway', 'warn', stream);
  logger.info({}, 'no');
  logger.warn({}, 'yes');
  expect(lines().map((line) => line['msg'])).toEqual(['yes']);
});

test('credentials and bodies never reach the log', () => {
  const { lines, stream } = capture();
  const secret = 'sk-very-secret';
  createLogger('gateway', 'info', stream).info(
    { authorization: secret, request: { token: secret, body: secret, apiKey: secret }, ok: 1 },
    'request',
  );
  expect(JSON.stringify(lines())).not.toContain(secret);
  expect(lines()[0]).toMatchObject({ ok: 1 });
});
