// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inject, onTestFinished } from 'vitest';
import { UNIT_ENV } from '#base/wire/unit-env.ts';
import { startTcpProxy } from '#test/tcp-proxy.ts';
import { scratchDir, startUnit } from '#worker/testing/unit-process.ts';
import type { UnitProcess } from '#worker/testing/unit-process.ts';
import { startFleet } from './fleet.process.ts';
import type { FleetProcesses } from './fleet.process.ts';
import { post } from './gateway.client.ts';
import type { GatewayProcess } from './gateway.process.ts';

/** A handler that takes its time without using any, and writes down what it does. */
const HANDLER = `
import { appendFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
const note = (line) => appendFileSync(new URL('./calls.log', import.meta.url), line + '\\n');
export async function load() {
  await delay(Number(process.env.LOAD_MS ?? 0));
  note('loaded');
}
export async function predict([request]) {
  const { name, ms = 0, spin = 0, size = 0 } = request.json();
  note('begin ' + name);
  await delay(ms);
  for (const until = Date.now() + spin; Date.now() < until; );
  note('end ' + name);
  return [size > 0 ? new Uint8Array(size) : { name }];
}
`;

type UnitSettings = Partial<Record<keyof typeof UNIT_ENV | 'loadMs', string | number>>;

/** Gateway processes on Redis and S3, units as processes: nothing but the test itself runs in the test's process. */
export interface WorkerFleet extends FleetProcesses {
  /** Starts a unit; it is killed with the test. */
  worker(name: string, settings?: UnitSettings): Promise<UnitProcess>;
  /** Accepted by the first gateway that is named, or the first one. */
  accept(body: object, at?: GatewayProcess): Promise<string>;
  /** Waits for the end of a request: status and body. */
  ended(ticket: string, at?: GatewayProcess): Promise<readonly [status: number, bytes: Buffer]>;
  /** How its attempts ended. */
  attempts(ticket: string, at?: GatewayProcess): Promise<readonly string[]>;
  /** What the handlers wrote down. */
  calls(): readonly string[];
}

export async function startWorkerFleet(
  replicas: number,
  settings: Readonly<Record<string, string>> = {},
): Promise<WorkerFleet> {
  const { url } = inject('servers').redis;
  const dir = scratchDir();
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(join(dir, 'handler.mjs'), HANDLER);
  const fleet = await startFleet(
    Array.from({ length: replicas }, () => url),
    settings,
  );
  onTestFinished(fleet.remove);
  const first = fleet.gateways[0] as GatewayProcess;
  return {
    ...fleet,
    worker: async (name, { loadMs = 0, ...more } = {}) => {
      const given = { brokerUrl: first.internal, archetype: 'Handler', handler: join(dir, 'handler.mjs'), ...more };
      const env = Object.entries(given).map(([key, value]) => [UNIT_ENV[key as keyof typeof UNIT_ENV], value] as const);
      const unit = startUnit(dir, { ...Object.fromEntries(env), LOAD_MS: loadMs }, await fleet.unitToken(name));
      onTestFinished(async () => {
        unit.child.kill('SIGKILL');
        await unit.exit;
      });
      return unit;
    },
    accept: async (body, at = first) => {
      const headers = { 'content-type': 'application/json', 'idempotency-key': crypto.randomUUID() };
      const answer = await post(`${at.url}/v1/echo/infer`, JSON.stringify(body), headers);
      if (answer.status !== 202) throw new Error(`infer: ${answer.status} ${await answer.text()}`);
      return ((await answer.json()) as { ticket: string }).ticket;
    },
    ended: async (ticket, at = first) => {
      for (;;) {
        const answer = await fetch(`${at.url}/v1/echo/status/${ticket}`, { headers: { prefer: 'wait=30' } });
        const bytes = Buffer.from(await answer.arrayBuffer());
        if (answer.status !== 202) return [answer.status, bytes];
      }
    },
    attempts: async (ticket, at = first) => {
      const answer = await fetch(`${at.url}/v1/echo/requests/${ticket}`);
      const { attempts } = (await answer.json()) as { attempts: readonly { outcome?: string }[] };
      return attempts.map(({ outcome = 'running' }) => outcome);
    },
    calls: () => {
      const file = join(dir, 'calls.log');
      return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
    },
  };
}

/** One address for several gateways, as a Service is: connections go to the one that is chosen now. */
export interface Service {
  readonly url: string;
  choose(gateway: GatewayProcess): void;
}

export async function startService(gateway: GatewayProcess): Promise<Service> {
  const portOf = ({ internal }: GatewayProcess): number => Number(new URL(internal).port);
  const proxy = await startTcpProxy(portOf(gateway));
  onTestFinished(() => proxy.close());
  return {
    url: `http://127.0.0.1:${proxy.port}`,
    choose: (next) => proxy.point(portOf(next)),
  };
}
