// SPDX-License-Identifier: Apache-2.0
import { hash } from 'node:crypto';
import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { authenticate } from './credential.ts';
import { openTenants, parseTenants } from './tenants.ts';

const tenants = parseTenants({
  tenants: [
    { name: 'one', apiKeys: [{ sha256: hash('sha256', 'key-1') }] },
    { name: 'two', apiKeys: [{ sha256: hash('sha256', 'key-2') }] },
  ],
});

function request(headers: Readonly<Record<string, string>>): IncomingMessage {
  const req = new IncomingMessage(new Socket());
  req.headers = headers;
  return req;
}

test.each<[what: string, headers: Record<string, string>, name: string]>([
  ['a bearer credential', { authorization: 'Bearer key-1' }, 'one'],
  ['X-API-Key', { 'x-api-key': 'key-2' }, 'two'],
  ['the same key in both', { authorization: 'Bearer key-1', 'x-api-key': 'key-1' }, 'one'],
])('%s says who calls', (_what, headers, name) => {
  expect(authenticate(request(headers), tenants)).toMatchObject({ name });
});

const both = expect.objectContaining({
  status: 400,
  code: 'bad-header',
  message: expect.stringMatching(/Authorization.*X-API-Key/) as string,
});

test.each<[what: string, headers: Record<string, string>]>([
  ['keys of two tenants', { authorization: 'Bearer key-1', 'x-api-key': 'key-2' }],
  ['a key and one that is not known', { authorization: 'Bearer key-1', 'x-api-key': 'guessed' }],
  ['a key and an empty one', { authorization: 'Bearer key-1', 'x-api-key': '' }],
  ['a token and a key', { authorization: 'Bearer a.b.c', 'x-api-key': 'key-2' }],
])('%s at once stand for nobody: refused naming both headers', (_what, headers) => {
  expect(() => authenticate(request(headers), tenants)).toThrow(both);
  expect(() => authenticate(request(headers), openTenants())).toThrow(both);
  expect(() => authenticate(request(headers), { ...tenants, byToken: () => expect.unreachable() })).toThrow(both);
});
