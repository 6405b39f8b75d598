// SPDX-License-Identifier: Apache-2.0
import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { Readable } from 'node:stream';
import { expect, test } from 'vitest';
import { ClientGone } from '../http/client-gone.ts';
import type { RequestRecord } from '../queue/lease-queue.ts';
import type { ObjectStore } from '../store/object-store.ts';
import { acceptsGzip, answerResult } from './result.ts';

test.each([
  [undefined, false],
  ['', false],
  ['gzip', true],
  ['br, GZIP;q=0.5', true],
  ['x-gzip', true],
  ['*', true],
  ['*;q=0', false],
  ['gzip;q=0, *', false],
  ['gzip;q=0', false],
  ['identity, br', false],
  ['gzip;q=0.5, identity;q=0.9', false],
  ['gzip;q=0.9, identity;q=0.5', true],
  ['gzip, identity', true],
  ['gzip;q=much', false],
])('Accept-Encoding: %s', (header, accepted) => {
  expect(acceptsGzip(header)).toBe(accepted);
});

test('the store’s stream of a large result is let go when the client has left before it came', async () => {
  const body = Readable.from([Buffer.alloc(20_000)]);
  const store = { get: () => Promise.resolve({ body, info: {} }) } as unknown as ObjectStore;
  const result = { contentType: 'text/plain', bytes: 20_000, key: 'v1/uid/results/id/1.0123456789abcdef' };
  const record = { state: 'succeeded', attempts: [], result } as unknown as RequestRecord;
  const req = new IncomingMessage(new Socket());
  const res = new ServerResponse(req);
  res.destroy();
  const x = { req, res, requestId: 'r', startedAt: 0, route: '/' };
  await expect(answerResult(x, record, store, {})).rejects.toThrow(ClientGone);
  expect(body.destroyed).toBe(true);
});
