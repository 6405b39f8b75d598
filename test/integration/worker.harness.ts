// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { isObject } from '#base/json.ts';
import { UNIT_ENV } from '#base/wire/unit-env.ts';
import { scratchDir, startUnit } from '#worker/testing/unit-process.ts';
import type { UnitOptions, UnitProcess } from '#worker/testing/unit-process.ts';
import { startStack, testApp, unitToken } from './gateway.harness.ts';
import type { AppPatch, Stack, StackOptions } from './gateway.harness.ts';

export interface WorkerStack extends Stack {
  /** Folder of this test's handlers. */
  readonly handlers: string;
  /** Starts a unit as a real process; it is killed with the test. */
  worker(
    settings: Partial<Record<keyof typeof UNIT_ENV, string | number | boolean>>,
    name?: string,
    options?: UnitOptions,
  ): Promise<UnitProcess>;
  post(body: unknown, headers?: Record<string, string>): Promise<string>;
  /** Waits for the end of a request. */
  ended(ticket: string, seconds?: number): Promise<Ended>;
  /** How its attempts ended so far. */
  attempts(ticket: string): Promise<readonly string[]>;
  state(ticket: string): Promise<string>;
}

export interface Ended {
  readonly status: number;
  readonly state: string;
  readonly type: string;
  readonly bytes: Buffer;
}

/** A real gateway over an embedded queue, and units as processes. */
export async function startWorkerStack(
  app: AppPatch & { readonly timeoutSeconds?: number } = {},
  options: StackOptions = {},
): Promise<WorkerStack> {
  const served = testApp(app);
  const { timeoutSeconds = 600 } = app;
  const request = { ...served.spec.request, timeoutSeconds };
  const stack = await startStack({ apps: [{ ...served, spec: { ...served.spec, request } }], ...options });
  const handlers = scratchDir();
  onTestFinished(async () => {
    await stack.close();
    rmSync(handlers, { recursive: true, force: true });
  });
  return {
    ...stack,
    handlers,
    worker: async (settings, name = 'echo-1', options = {}) => {
      const env = Object.entries(settings).map(([key, value]) => [UNIT_ENV[key as keyof typeof UNIT_ENV], value]);
      const defaults = { [UNIT_ENV.brokerUrl]: stack.internal, [UNIT_ENV.archetype]: 'Handler' };
      const token = await unitToken(stack.operator, name);
      const unit = startUnit(
        handlers,
        { ...defaults, ...(Object.fromEntries(env) as Record<string, string>) },
        token,
        options,
      );
      onTestFinished(async () => {
        unit.child.kill('SIGKILL');
        await unit.exit;
      });
      return unit;
    },
    post: async (body, headers = {}) => {
      const answer = await fetch(`${stack.url}/v1/echo/infer`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'idempotency-key': crypto.randomUUID(), ...headers },
        body: body instanceof Uint8Array ? body : JSON.stringify(body),
      });
      const accepted: unknown = await answer.json();
      if (answer.status !== 202 || !isObject(accepted))
        throw new Error(`infer: ${answer.status} ${JSON.stringify(accepted)}`);
      return String(accepted['ticket']);
    },
    ended: async (ticket, seconds = 30) => {
      const until = Date.now() + seconds * 1000;
      for (;;) {
        const answer = await fetch(`${stack.url}/v1/echo/status/${ticket}`, { headers: { prefer: 'wait=5' } });
        const bytes = Buffer.from(await answer.arrayBuffer());
        const state = answer.headers.get('penstock-state') ?? '';
        const type = answer.headers.get('content-type') ?? '';
        if (answer.status !== 202) return { status: answer.status, state, type, bytes };
        if (Date.now() > until) throw new Error(`${ticket} is still ${state} after ${seconds} s`);
      }
    },
    attempts: async (ticket) => {
      const list = (await record(stack, ticket))['attempts'];
      return Array.isArray(list)
        ? list.map((one: unknown) =>
            isObject(one) ? (typeof one['outcome'] === 'string' ? one['outcome'] : 'running') : '',
          )
        : [];
    },
    state: async (ticket) => String((await record(stack, ticket))['state']),
  };
}

async function record(stack: Stack, ticket: string): Promise<Record<string, unknown>> {
  const answer = await fetch(`${stack.url}/v1/echo/requests/${ticket}`);
  const body: unknown = await answer.json();
  if (!isObject(body)) throw new Error(`requests: ${answer.status}`);
  return body;
}

/** Lines that the suite's handlers wrote. */
export function callsIn(dir: string): readonly string[] {
  const file = join(dir, 'calls.log');
  return existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
}

/** Whether the process still runs; a zombie, which only waits for its parent to notice, does not. */
export function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false;
  }
}
