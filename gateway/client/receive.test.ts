// SPDX-License-Identifier: Apache-2.0
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { ProblemError } from '#base/problem.ts';
import type { BodyPlan } from './body-plan.ts';
import type { Coding } from './decoding.ts';
import { createInspector } from './inspector.ts';
import { holdInline } from './receive.ts';

function plan(coding: Coding): BodyPlan {
  return { contentType: 'application/json', coding, json: true, maxBytes: 1e6, maxWireBytes: 1e6 };
}

async function inspected(bytes: Buffer): Promise<string | undefined> {
  const inspector = createInspector(plan('identity'));
  for (let at = 0; at < bytes.length; at += 7) await inspector.push(bytes.subarray(at, at + 7));
  return (await inspector.end()).rid;
}

/** Each way that a JSON body is read, to its `_rid`. */
const READERS: readonly [string, (bytes: Buffer) => Promise<string | undefined>][] = [
  ['held', async (bytes) => (await holdInline(bytes, plan('identity'))).rid],
  ['held in gzip', async (bytes) => (await holdInline(gzipSync(bytes), plan('gzip'))).rid],
  ['inspected as it passes by', inspected],
];

describe.each(READERS)('a JSON body that is %s', (_name, read) => {
  test.each([
    ['Latin-1', '{"text":"Z\xfcrich"}', 10],
    ['a byte that is never used, in a _rid', '{"_rid":"\xff"}', 9],
    ['a surrogate', '{"text":"\xed\xa0\x80"}', 9],
    ['UTF-16', '\xff\xfe{\0}\0', 0],
  ])('is refused when it is not UTF-8: %s', async (_what, latin1, position) => {
    const error = await read(Buffer.from(latin1, 'latin1')).catch((err: unknown) => err);
    expect(error).toBeInstanceOf(ProblemError);
    expect((error as ProblemError).toProblem()).toMatchObject({
      status: 400,
      type: 'urn:penstock:problem:bad-json',
      field: 'body',
      position,
      fix: expect.stringContaining('UTF-8') as string,
    });
  });

  test('is taken when it is, whichever characters it holds', async () => {
    expect(await read(Buffer.from('{"text":"Zürich 漢 😀 \ufffd","_rid":"é漢😀"}'))).toBe('é漢😀');
  });

  test.each([
    ['two names', '{"_rid":"first","a":1,"_rid":"last"}', 'last'],
    ['a name and a number', '{"_rid":"first","_rid":7}', '7'],
    ['one of them spelled with an escape', String.raw`{"_rid":"first","\u005frid":"last"}`, 'last'],
    ['one that is none and a name', '{"_rid":{"_rid":"deep"},"_rid":"last"}', 'last'],
    ['null and a name', '{"_rid":null,"_rid":"last"}', 'last'],
    ['a name and one in another object', '{"_rid":"last","a":{"_rid":"deep"}}', 'last'],
  ])('has the last of several _rid: %s', async (_what, text, rid) => {
    expect(await read(Buffer.from(text))).toBe(rid);
  });

  test.each([
    ['null', '{"_rid":"first","_rid":null}'],
    ['an object', '{"_rid":"first","_rid":{}}'],
    ['a list', '{"_rid":"first","_rid":["last"]}'],
    ['nothing', '{"_rid":"first","_rid":""}'],
    ['a fraction', '{"_rid":"first","_rid":1.5}'],
    ['too long', `{"_rid":"first","_rid":"${'x'.repeat(2_000)}"}`],
  ])('is refused when the last _rid names no request, whatever those before it say: %s', async (_what, text) => {
    const error = await read(Buffer.from(text)).catch((err: unknown) => err);
    expect(error).toMatchObject({ code: 'bad-body', status: 400 });
  });
});
