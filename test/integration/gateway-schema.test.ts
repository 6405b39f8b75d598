// SPDX-License-Identifier: Apache-2.0
import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { post, problem, submit } from './gateway.client.ts';
import type { Headers } from './gateway.client.ts';
import { bodyOf, startStack, testApp } from './gateway.harness.ts';
import type { Stack } from './gateway.harness.ts';

const SCHEMA = {
  type: 'object',
  required: ['text'],
  properties: { text: { type: 'string', minLength: 1 }, tags: { items: { enum: ['a', 'b'] } }, _rid: {} },
  additionalProperties: false,
};
const JSON_TYPE = { 'content-type': 'application/json' };

let stack: Stack;

beforeEach(async () => {
  stack = await startStack({
    apps: [
      testApp({ schema: SCHEMA }),
      testApp({ name: 'broken', uid: 'uid-broken', schema: { pattern: '(' } }),
      testApp({ name: 'remote', uid: 'uid-remote', schema: { $ref: 'https://example.com/schema' } }),
    ],
  });
});

afterEach(async () => {
  await stack.close();
});

const infer = (body: string | Uint8Array<ArrayBuffer>, headers: Headers = {}, app = 'echo'): Promise<Response> =>
  post(`${stack.url}/v1/${app}/infer`, body, { ...JSON_TYPE, ...headers });

async function nothingStored(): Promise<void> {
  expect((await stack.queue.demand('uid-echo')).queued).toBe(0);
  expect((await stack.store.list('v1/')).objects).toEqual([]);
}

const large = (text: unknown): string => JSON.stringify({ text, tags: Array(20_000).fill('a') });

describe('an app with a schema', () => {
  test.each([
    ['small', JSON.stringify({ text: 'x', tags: ['b'] })],
    ['large', large('x')],
  ])('takes a %s body that fits, in every coding, as one request', async (_size, body) => {
    const tickets = [
      await submit(stack, body, JSON_TYPE),
      await submit(stack, gzipSync(body), { ...JSON_TYPE, 'content-encoding': 'gzip' }),
      await submit(stack, deflateSync(body), { ...JSON_TYPE, 'content-encoding': 'deflate' }),
      await submit(stack, zstdCompressSync(body), { ...JSON_TYPE, 'content-encoding': 'zstd' }),
    ];
    expect(new Set(tickets).size).toBe(1);
    const lease = await (await stack.unit('echo-1')).one();
    expect((await bodyOf(lease)).toString()).toBe(body);
    expect((await stack.store.list('v1/')).objects).toHaveLength(body.length > 16_384 ? 1 : 0);
  });

  test('keeps a gzip body as it came', async () => {
    const packed = gzipSync(JSON.stringify({ text: 'x' }));
    await submit(stack, packed, { ...JSON_TYPE, 'content-encoding': 'gzip' });
    const lease = await (await stack.unit('echo-1')).one();
    expect([lease.body.content_encoding, (await bodyOf(lease)).equals(packed)]).toEqual(['gzip', true]);
  });

  test('refuses a small body with every fault by its pointer, and stores nothing', async () => {
    const answer = await infer(JSON.stringify({ text: '', tags: ['a', 'c'], more: 1 }));
    expect(answer.status).toBe(422);
    expect(await answer.json()).toMatchObject({
      type: 'urn:penstock:problem:body-invalid',
      field: 'body',
      fix: expect.any(String),
      errors: [
        { pointer: '/more', detail: 'is not known here' },
        { pointer: '/text', detail: expect.stringMatching(/fewer than 1/) },
        { pointer: '/tags/1', detail: 'must be one of ["a","b"]' },
      ],
    });
    await nothingStored();
  });

  test.each(['identity', 'gzip', 'deflate', 'zstd'] as const)(
    'refuses a large body in %s with its first fault',
    async (coding) => {
      const pack = { identity: (text: string) => text, gzip: gzipSync, deflate: deflateSync, zstd: zstdCompressSync }[
        coding
      ];
      const answer = await infer(pack(large(7)), { 'content-encoding': coding });
      expect(answer.status).toBe(422);
      expect(await answer.json()).toMatchObject({ errors: [{ pointer: '/text', detail: 'must be string' }] });
      await nothingStored();
    },
  );

  test.each([
    ['no JSON by its type', '{"text":"x"}', { 'content-type': 'text/plain' }, [415, 'unsupported-media-type']],
    ['a type that is empty', '{"text":"x"}', { 'content-type': '' }, [400, 'bad-header']],
    ['no JSON by its bytes', '{"text":', {}, [400, 'bad-json']],
    ['nothing', '', {}, [400, 'bad-json']],
    ['a _rid that is no name', '{"text":"x","_rid":{}}', {}, [400, 'bad-body']],
  ] as const)('refuses %s', async (_name, body, headers: Headers, expected) => {
    expect(await problem(await infer(body, headers))).toEqual(expected);
    await nothingStored();
  });

  test('takes JSON by a structured suffix', async () => {
    expect((await infer('{"text":"x"}', { 'content-type': 'application/vnd.x+json; charset=utf-8' })).status).toBe(202);
  });

  test.each(['identity', 'gzip', 'deflate', 'zstd'] as const)(
    'refuses a body in %s that becomes too large',
    async (coding) => {
      stack.apps.set(testApp({ schema: SCHEMA, maxBytes: 50_000 }));
      const pack = { identity: (text: string) => text, gzip: gzipSync, deflate: deflateSync, zstd: zstdCompressSync }[
        coding
      ];
      const body = `{"text":"${'x'.repeat(60_000)}"}`;
      expect(await problem(await infer(pack(body), { 'content-encoding': coding }))).toEqual([413, 'body-too-large']);
      await nothingStored();
    },
  );

  test('is checked by the schema that it has now', async () => {
    expect((await infer('{"text":"x"}')).status).toBe(202);
    stack.apps.set(testApp({ schema: { ...SCHEMA, required: ['tags'] } }));
    expect(await problem(await infer('{"text":"x"}'))).toEqual([422, 'body-invalid']);
    stack.apps.set(testApp());
    expect((await infer('[]')).status).toBe(202);
  });
});

describe('an app whose schema cannot be used', () => {
  test.each(['broken', 'remote'])('(%s) answers 409, the first time and from then on', async (app) => {
    expect(await problem(await infer('{}', {}, app))).toEqual([409, 'app-misconfigured']);
    expect(await problem(await infer('{}', {}, app))).toEqual([409, 'app-misconfigured']);
    expect((await stack.queue.demand(`uid-${app}`)).queued).toBe(0);
  });
});

test('what the checks came to is counted', async () => {
  await infer('{"text":"x"}');
  await infer('{}');
  const metrics = await stack.registry.metrics();
  expect(metrics).toMatch(/penstock_gateway_body_checks_total\{verdict="fits",[^}]*\} 1\n/);
  expect(metrics).toMatch(/penstock_gateway_body_checks_total\{verdict="misfits",[^}]*\} 1\n/);
});
