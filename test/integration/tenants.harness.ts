// SPDX-License-Identifier: Apache-2.0
import { newApiKey } from '#base/api-key.ts';
import { systemRandom } from '#base/random.ts';
import type { ApiKeyEntry, Role } from '#base/tenants.ts';
import type { LeaseQueue } from '#gateway/queue/lease-queue.ts';

export interface TestKey {
  readonly key: string;
  readonly prefix: string;
  /** For tenants.yaml. */
  readonly entry: ApiKeyEntry;
  /** For a request. */
  readonly headers: { readonly authorization: string };
}

export function testKey(role: Role = 'client', more: Partial<ApiKeyEntry> = {}): TestKey {
  const { key, prefix, sha256 } = newApiKey(systemRandom);
  return { key, prefix, entry: { prefix, sha256, role, ...more }, headers: { authorization: `Bearer ${key}` } };
}

/** What the queue is asked on behalf of a client; its own housekeeping goes on beside the tests. */
const CLIENT_CALLS = new Set(['enqueue', 'get', 'cancel', 'deadLetters', 'redrive', 'discard', 'live', 'salvage']);

/** Calls of the queue that clients cause, in order. */
export interface CallLog {
  readonly target: LeaseQueue;
  readonly calls: { readonly method: string; readonly args: readonly unknown[] }[];
  /** Names of the calls made while `work` ran. */
  during<R>(work: () => Promise<R>): Promise<{ readonly result: R; readonly methods: readonly string[] }>;
}

/** The same queue, with these calls noted. */
export function logged(inner: LeaseQueue): CallLog {
  const calls: { method: string; args: unknown[] }[] = [];
  const target = new Proxy(inner, {
    get: (object, name) => {
      const value: unknown = Reflect.get(object, name, object);
      if (typeof value !== 'function') return value;
      if (!CLIENT_CALLS.has(String(name))) return value.bind(object) as unknown;
      return (...args: unknown[]): unknown => {
        calls.push({ method: String(name), args });
        return Reflect.apply(value, object, args);
      };
    },
  });
  return {
    target,
    calls,
    during: async (work) => {
      const from = calls.length;
      const result = await work();
      return { result, methods: calls.slice(from).map(({ method }) => method) };
    },
  };
}

/** Everything of an answer that a client can read, but for what is fresh in each: the request's id and the date. */
export async function readable(response: Response): Promise<object> {
  const headers = Object.fromEntries(response.headers);
  const { date: _date, 'x-request-id': _id, ...rest } = headers;
  const text = await response.text();
  return { status: response.status, headers: rest, body: text.replaceAll(/"instance":"[^"]*"/g, '') };
}
