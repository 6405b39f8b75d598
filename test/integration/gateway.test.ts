// SPDX-License-Identifier: Apache-2.0
import { afterEach, expect, test } from 'vitest';
import { bodyOf, startStack } from './gateway.harness.ts';
import type { Stack, StackOptions } from './gateway.harness.ts';

let stack: Stack | undefined;

async function start(options: StackOptions = {}): Promise<Stack> {
  stack = await startStack(options);
  return stack;
}

afterEach(async () => {
  await stack?.close();
  stack = undefined;
});

interface Accepted {
  readonly ticket: string;
  readonly retry_after: number;
}

function post(url: string, body: string | Uint8Array, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(url, { method: 'POST', body, headers: { 'content-type': 'text/plain', ...headers } });
}

test('a request is accepted, leased, completed and answered with the bytes and type that the worker stored', async () => {
  const { url, unit } = await start();
  const accepted = await post(`${url}/v1/echo/infer`, 'hello', { 'x-request-id': 'mine-1' });
  expect(accepted.status).toBe(202);
  expect(accepted.headers.get('x-request-id')).toBe('mine-1');
  const { ticket, retry_after } = (await accepted.json()) as Accepted;
  expect(ticket).toMatch(/^req_[A-Za-z0-9_-]{32}$/);
  expect(retry_after).toBe(1);
  expect(accepted.headers.get('location')).toBe(`/v1/echo/status/${ticket}`);

  const pending = await fetch(`${url}/v1/echo/status/${ticket}`);
  expect([pending.status, pending.headers.get('penstock-state')]).toEqual([202, 'queued']);

  const worker = await unit('echo-1');
  const lease = await worker.one();
  expect((await bodyOf(lease)).toString()).toBe('hello');
  expect(lease).toMatchObject({ attempt: 1, lane: 'online', tenant: 'default', timeout_seconds: 600 });
  expect(await worker.complete(lease, 'HELLO', 'text/x-loud; charset=utf-8')).toBe('committed');

  const done = await fetch(`${url}/v1/default.echo/status/${ticket}`);
  expect([done.status, done.headers.get('content-type'), await done.text()]).toEqual([
    200,
    'text/x-loud; charset=utf-8',
    'HELLO',
  ]);
  expect(done.headers.get('penstock-state')).toBe('succeeded');
});
