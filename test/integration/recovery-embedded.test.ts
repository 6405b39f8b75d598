// SPDX-License-Identifier: Apache-2.0
// Standalone's queue: a queue.db that was put back from an older copy, under the gateway's own process.
import { randomBytes } from 'node:crypto';
import { cpSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { until } from '#test/until.ts';
import { post, problem } from './gateway.client.ts';
import { bodyOf, connectUnit } from './gateway.harness.ts';
import type { TestUnit } from './gateway.harness.ts';
import { gatewayProcess } from './gateway.process.ts';
import type { GatewayProcess } from './gateway.process.ts';

const running: GatewayProcess[] = [];

afterEach(async () => {
  for (const one of running.splice(0)) await one.remove();
});

/** The files of the queue, copied from one folder into another one. */
function copyQueue(from: string, to: string): void {
  for (const name of readdirSync(to)) if (name.startsWith('queue.db')) rmSync(join(to, name));
  for (const name of readdirSync(from)) if (name.startsWith('queue.db')) cpSync(join(from, name), join(to, name));
}

async function unit(g: GatewayProcess, name: string): Promise<TestUnit> {
  const [app] = (await g.demand()).apps;
  return await connectUnit(g.internal, g.operator, name, { app: app?.uid ?? '', revision: app?.revision ?? '' });
}

async function ticketOf(g: GatewayProcess, body: string): Promise<string> {
  const answer = await post(`${g.url}/v1/echo/infer`, body);
  expect(answer.status).toBe(202);
  return ((await answer.json()) as { ticket: string }).ticket;
}

test('an older copy of queue.db is found out at the start; stored results are answered, the rest is said to be lost', async () => {
  const g = await gatewayProcess();
  running.push(g);
  const [data, copy] = [join(g.dir, 'data'), join(g.dir, 'copy')];
  const ask = (ticket: string): Promise<Response> => fetch(`${g.url}/v1/echo/status/${ticket}`);
  const metric = async (name: string): Promise<number> => {
    const text = await (await fetch(`${g.ops}/metrics`)).text();
    return Number(
      text
        .split('\n')
        .find((line) => line.startsWith(name))
        ?.split(' ')
        .at(-1),
    );
  };

  await g.start();
  const early = await ticketOf(g, 'early');
  await g.end('SIGTERM');
  cpSync(data, copy, { recursive: true });

  await g.start();
  const worker = await unit(g, 'before');
  const result = randomBytes(30_000);
  expect(await worker.upload(await worker.one(30), result, 'application/x-result')).toBe('committed');
  const lost = await ticketOf(g, 'lost');
  await g.end('SIGTERM');
  copyQueue(copy, data);

  await g.start();
  await until(async () => (await metric('penstock_recovery_salvaged_total')) === 1, {
    what: 'the salvaged result',
    timeoutMs: 60_000,
  });
  expect(g.log()).toContain('the queue went back');
  expect(await metric('penstock_queue_regressions_total{kind="went-back"')).toBe(1);
  expect(await (await fetch(`${g.ops}/readyz`)).text()).toContain('the queue of 1 apps went back at ');
  expect(Buffer.from(await (await ask(early)).arrayBuffer()).equals(result)).toBe(true);
  expect(await problem(await ask(lost))).toEqual([500, 'request-lost']);
  const again = await ticketOf(g, 'lost');
  expect(again).not.toBe(lost);
  const next = await unit(g, 'after');
  const lease = await next.one(30);
  expect((await bodyOf(lease)).toString()).toBe('lost');
  expect(await next.complete(lease, 'found')).toBe('committed');
  expect(await (await ask(again)).text()).toBe('found');

  await g.end('SIGTERM');
  await g.start();
  expect(await metric('penstock_queue_regressions_total{kind="went-back"')).toBe(0);
  expect((await ask(early)).status).toBe(200);
});
