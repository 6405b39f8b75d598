// SPDX-License-Identifier: Apache-2.0
// One lease call over both lanes, and a suspect that is given alone. The batch lane has no HTTP side yet: its requests are put in by the
// queue's own interface.
import { afterEach, expect, test } from 'vitest';
import { systemClock } from '#base/clock.ts';
import { systemRandom } from '#base/random.ts';
import { uuid7 } from '#base/uuid7.ts';
import { heldOf } from '#gateway/broker/lease-token.ts';
import type { Lane } from '#gateway/queue/lease-queue.ts';
import { untilWaiting } from './gateway.client.ts';
import { startStack } from './gateway.harness.ts';
import type { Stack } from './gateway.harness.ts';

let stack: Stack | undefined;

async function start(): Promise<Stack> {
  stack = await startStack();
  return stack;
}

afterEach(async () => {
  await stack?.close();
  stack = undefined;
});

async function put({ queue }: Stack, lane: Lane, count: number): Promise<void> {
  const requests = Array.from({ length: count }, () => {
    const id = uuid7(systemClock, systemRandom);
    return {
      id,
      app: 'uid-echo',
      tenant: 'default',
      lane,
      revision: 'rev1',
      priority: 0,
      cost: 0,
      body: { contentType: 'text/plain', bytes: 1, inline: Buffer.from('x') },
      dedupeKey: id,
      retry: { maxAttempts: 3, maxLosses: 5 },
      retentionMs: 60_000,
    };
  });
  for (const { kind } of await queue.enqueue(requests)) expect(kind).toBe('queued');
}

test('one call takes up to what it asks for over both lanes, online first', async () => {
  const s = await start();
  await put(s, 'batch', 3);
  await put(s, 'online', 2);
  const unit = await s.unit('echo-1');
  const first = (await unit.lease(4)).leases.map(({ lane }) => lane);
  expect(first).toEqual(['online', 'online', 'batch', 'batch']);
  expect((await unit.lease(4)).leases.map(({ lane }) => lane)).toEqual(['batch']);
});

test('a unit that names one lane is given that one only', async () => {
  const s = await start();
  await put(s, 'batch', 1);
  await put(s, 'online', 1);
  const unit = await s.unit('echo-1');
  const given: string[][] = [];
  for (const lane of ['batch', 'online', 'batch']) {
    const answer = await unit.post('lease', { max: 4, wait_seconds: 0, lanes: [lane] });
    const { leases } = (await answer.json()) as { leases: readonly { lane: string }[] };
    given.push(leases.map((lease) => lease.lane));
  }
  expect(given).toEqual([['batch'], ['online'], []]);
});

test('a suspect goes to a unit that holds nothing, alone; one that holds something hands its wake-up on', async () => {
  const s = await start();
  await put(s, 'online', 2);
  const lost = await s.unit('echo-lost');
  const busy = await s.unit('echo-busy');
  const idle = await s.unit('echo-idle');
  await lost.one();
  const kept = heldOf(await busy.one());
  await s.queue.extend('uid-echo', 'echo-busy', [kept], 300_000);
  // The busy one has waited longest, so it is woken first.
  const ask = { max: 4, wait_seconds: 30 };
  const more = busy.post('lease', { ...ask, held: 1 });
  await untilWaiting(s, 'units', 1);
  const alone = idle.lease(4, 30);
  await untilWaiting(s, 'units', 2);
  await s.queue.expire(new Map([['uid-echo', 'rev1']]), Date.now() + 31_000);
  const { leases } = await alone;
  expect(leases.map(({ attempt }) => attempt)).toEqual([2]);
  // Ordinary work that came along is for the others: the suspect is alone in its unit.
  await put(s, 'online', 2);
  expect((await idle.lease(4)).leases).toEqual([]);
  const answer = (await (await more).json()) as { leases: readonly { attempt: number }[] };
  expect(answer.leases.map(({ attempt }) => attempt)).toEqual([1, 1]);
});
