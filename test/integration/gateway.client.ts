// SPDX-License-Identifier: Apache-2.0
import { expect } from 'vitest';
import { until } from '#test/until.ts';
import type { Stack } from './gateway.harness.ts';

export type Headers = Record<string, string>;

export function post(url: string, body: string | Uint8Array<ArrayBuffer>, headers: Headers = {}): Promise<Response> {
  return fetch(url, { method: 'POST', body, headers: { 'content-type': 'text/plain', ...headers } });
}

/** Posts, and answers the ticket of the 202. */
export async function submit(
  { url }: Stack,
  body: string | Uint8Array<ArrayBuffer>,
  headers: Headers = {},
  app = 'echo',
): Promise<string> {
  const response = await post(`${url}/v1/${app}/infer`, body, headers);
  expect(response.status).toBe(202);
  return ((await response.json()) as { ticket: string }).ticket;
}

export function status(s: Stack, ticket: string, headers: Headers = {}, app = 'echo'): Promise<Response> {
  return fetch(`${s.url}/v1/${app}/status/${ticket}`, { headers });
}

/** Status and code of an answer that must be a problem document. */
export async function problem(response: Response): Promise<[status: number, code: string]> {
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  const { type } = (await response.json()) as { type: string };
  return [response.status, type.replace('urn:penstock:problem:', '')];
}

/** Waits until so many clients or units wait in the gateway. */
export async function untilWaiting(s: Stack, who: 'clients' | 'units', count: number): Promise<void> {
  const line = new RegExp(`waiting_${who}\\{[^}]*\\} ${count}\n`);
  await until(async () => line.test(await s.registry.metrics()), { what: `${count} waiting ${who}` });
}
